-- Post what the late truth adds to (or takes from) a hold that expired, once.
-- ARGV: epoch, clock, hold id, accounts, state of the expiry, delta, overrun, event id, payload,
-- ended_ms, event id as JSON.   Answers: as settle
if lost() then
  return { 'lost' }
end
local id = ARGV[3]
local before = redis.call('HGET', CORRECTION, id)
if before then
  return repeated(before, '1')
end
post(ARGV[4], ARGV[6], ARGV[7], '0')
redis.call('HSET', CORRECTION, id,
  entry_text(ARGV[5], ARGV[6], ARGV[7], ARGV[10], ARGV[11], ARGV[4]))
append(ARGV[8], ARGV[9])
return { 'ended', ARGV[5], ARGV[6], ARGV[7], '0', '1' }
