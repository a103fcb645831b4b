-- Accounts as they stand. ARGV: epoch, clock, accounts.
-- Answers: accounts, then for each one posted, held (empty: no such account) and overrun.
if lost() then
  return { 'lost' }
end
local answer = { 'accounts' }
for i = 3, #ARGV do
  answer[#answer + 1] = sum_of(POSTED, ARGV[i])
  answer[#answer + 1] = redis.call('HGET', HELD, ARGV[i]) or ''
  answer[#answer + 1] = sum_of(OVERRUN, ARGV[i])
end
return answer
