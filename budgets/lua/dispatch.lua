-- Mark a hold before the first byte goes to the provider, and keep the draft of its event.
-- ARGV: epoch, clock, hold id, draft.   Answers: sent
if lost() then
  return { 'lost' }
end
local stored = redis.call('HGET', HOLD, ARGV[3])
if not stored or string.sub(stored, 1, 5) ~= 'held|' then
  return { 'error', 'is not there to dispatch' }
end
redis.call('HSET', HOLD, ARGV[3], 'dispatched' .. string.sub(stored, 5))
redis.call('HSET', DRAFT, ARGV[3], ARGV[4])
return { 'sent' }
