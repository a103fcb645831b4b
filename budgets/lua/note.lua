-- Note the budgets that a gateway has never spent without. Every other one misses what this gateway
-- spends from here on, so whoever noted it may not rely on it any more.
-- ARGV: epoch, clock, gateway, names of budgets.   Answers: noted
if lost() then
  return { 'lost' }
end
local known = {}
for i = 4, #ARGV do
  known[ARGV[i]] = true
end
for _, field in ipairs(redis.call('HKEYS', COUNTING)) do
  if not known[string.match(field, '|(.*)$')] then
    redis.call('HDEL', COUNTING, field)
  end
end
for i = 4, #ARGV do
  redis.call('HSET', COUNTING, ARGV[3] .. '|' .. ARGV[i], '1')
end
return { 'noted' }
