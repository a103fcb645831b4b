-- What every gateway noted. ARGV: epoch, clock.   Answers: counting, list of GATEWAY|BUDGET
if lost() then
  return { 'lost' }
end
return { 'counting', redis.call('HKEYS', COUNTING) }
