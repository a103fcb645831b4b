-- Post a cost and append its event, once.
-- ARGV: epoch, clock, hold id, amount, accounts, cost, event id, payload, ended_ms, event id as JSON.
-- Answers: ended, state, posted, overrun, repeated, correction
--        | late, state, posted     an expiry came first, and the truth is yet to be posted
if lost() then
  return { 'lost' }
end
local id, accounts = ARGV[3], ARGV[5]
local stored = redis.call('HGET', HOLD, id)
if stored then
  local state, amount, _, _, names = hold_fields(stored)
  if state ~= 'dispatched' or amount ~= ARGV[4] or names ~= accounts then
    return { 'error', 'is unknown or was never dispatched' }
  end
  return end_hold(id, stored, 'settled', ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10])
end
local entry = redis.call('HGET', ENTRY, id)
if not entry then
  return { 'unknown' }
end
if string.sub(entry, -#accounts - 1) ~= accounts .. ']' then
  return { 'error', 'is unknown or was never dispatched' }
end
if not string.find(entry, '^%["expired_') then
  return repeated(entry, '0')
end
local correction = redis.call('HGET', CORRECTION, id)
if correction then
  return repeated(correction, '1')
end
local first = cjson.decode(entry)
return { 'late', first[1], whole(first[2]) }
