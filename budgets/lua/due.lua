-- Open holds whose lease ran out, the oldest first. ARGV: epoch, clock, how many at most.
-- Answers: due, now_ms, then for each hold: id, hold, draft (empty where it was never dispatched).
if lost() then
  return { 'lost' }
end
local now = clock()
local answer = { 'due', now }
for _, id in ipairs(redis.call('ZRANGEBYSCORE', LEASE, '-inf', now, 'LIMIT', 0, ARGV[3])) do
  answer[#answer + 1] = id
  answer[#answer + 1] = redis.call('HGET', HOLD, id)
  answer[#answer + 1] = redis.call('HGET', DRAFT, id) or ''
end
return answer
