-- Post what the late truth adds to (or takes from) a hold that expired, once.
-- ARGV: epoch, clock, then the entry as `add_entry` takes it.   Answers: as settle
if lost() then
  return { 'lost' }
end
local before = redis.call('HGET', CORRECTION, ARGV[3])
if before then
  return repeated(before, '1')
end
add_entry(CORRECTION, 3)
return { 'ended', ARGV[5], ARGV[6], ARGV[7], '0', '1' }
