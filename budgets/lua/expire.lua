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
    local state, amount, each = hold_fields(stored)
    if state == 'dispatched' then
      end_hold(id, stored, 'expired_charged', amount, each, '0', '""', i + 2)
    else
      end_hold(id, stored, 'expired_freed', '0', '', '0', '""', i + 2)
    end
    answer[#answer + 1] = id
  end
end
return answer
