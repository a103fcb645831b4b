-- Post a cost and append its event, once.
-- ARGV: epoch, clock, hold id, accounts, cost, what each account takes (empty: the cost), tokens,
-- model (JSON), event id, payload, ended_ms, event id as JSON.
-- Answers: ended, state, posted, overrun, repeated, correction
--        | late, entry     an expiry came first, and the truth is yet to be posted
if lost() then
  return { 'lost' }
end
local id, accounts = ARGV[3], ARGV[4]
local stored = redis.call('HGET', HOLD, id)
if stored then
  local state, _, each, _, _, _, names = hold_fields(stored)
  if state ~= 'dispatched' or names ~= accounts then
    return { 'error', 'is unknown or was never dispatched' }
  end
  if each ~= '' and ARGV[6] == '' then
    return { 'error', 'is settled without saying what each account takes' }
  end
  return end_hold(id, stored, 'settled', ARGV[5], ARGV[6], ARGV[7], ARGV[8], 9)
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
return { 'late', entry }
