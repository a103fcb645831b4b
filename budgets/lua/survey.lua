-- Accounts as they stand. ARGV: epoch, clock, accounts.
-- Answers: accounts, then three lists: posted, held (none: no such account) and overrun of each.
if lost() then
  return { 'lost' }
end
local function sums_of(key)
  if #ARGV < 3 then
    return {}
  end
  return redis.call('HMGET', key, unpack(ARGV, 3))
end
return { 'accounts', sums_of(POSTED), sums_of(HELD), sums_of(OVERRUN) }
