-- Give the money back because nothing was billed; append the event where there is one.
-- ARGV: epoch, clock, hold id, event id, payload, ended_ms (empty: when it was admitted), event id
-- as JSON (null: no event).   Answers: as settle
if lost() then
  return { 'lost' }
end
local id = ARGV[3]
local stored = redis.call('HGET', HOLD, id)
if stored then
  return end_hold(id, stored, 'released', '0', '', '0', '""', 4)
end
local entry = redis.call('HGET', ENTRY, id)
if not entry then
  return { 'unknown' }
end
return repeated(entry, '0')
