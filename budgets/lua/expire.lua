-- End holds whose lease ran out: free what was only held, charge what was sent.
-- ARGV: epoch, clock, then for each: hold id, the hold as `due` told it, event id, payload, ended_ms,
-- event id as JSON. One that changed since is left alone.   Answers: expired, ids that were ended.
if lost() then
  return { 'lost' }
end
local answer = { 'expired' }
for i = 3, #ARGV, 6 do
  local id, stored = ARGV[i], ARGV[i + 1]
  if redis.call('HGET', HOLD, id) == stored then
    local state, amount = hold_fields(stored)
    local sent = state == 'dispatched'
    end_hold(id, stored, sent and 'expired_charged' or 'expired_freed', sent and amount or '0',
      ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5])
    answer[#answer + 1] = id
  end
end
return answer
