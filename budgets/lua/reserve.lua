-- Set an amount aside on every account, or on none.
-- ARGV: epoch, clock, hold id, amount, lease in ms, accounts (JSON of those that are kept), then for
-- each charge: account, limit (empty: none), 'lone' or empty.
-- Answers: hold, state, admitted_ms, lease_until_ms, now_ms | refused, charge, posted, held, now_ms
if lost() then
  return { 'lost' }
end
local now, id, amount, accounts = clock(), ARGV[3], ARGV[4], ARGV[6]
local stored = redis.call('HGET', HOLD, id)
if stored then
  local state, first_amount, admitted, lease, first_accounts = hold_fields(stored)
  if first_amount ~= amount or first_accounts ~= accounts then
    return { 'error', 'is set aside with another amount or accounts' }
  end
  return { 'hold', state, admitted, lease, now }
end
if redis.call('HEXISTS', ENTRY, id) == 1 then
  return { 'error', 'has ended before' }
end
for i = 7, #ARGV, 3 do
  local posted, held = '0', '0'
  if ARGV[i + 2] == '' then
    posted, held = sum_of(POSTED, ARGV[i]), sum_of(HELD, ARGV[i])
  end
  local wanted = tonumber(posted) + tonumber(held) + tonumber(amount)
  if ARGV[i + 1] ~= '' and wanted > tonumber(ARGV[i + 1]) then
    return { 'refused', whole((i - 7) / 3), posted, held, now }
  end
  -- Settling is never refused, so the sums are kept far from where they would leave 64 bits.
  if wanted > HALF_RANGE then
    return { 'error', 'is refused: the sum of ' .. ARGV[i] .. ' leaves the 64-bit integers' }
  end
end
for i = 7, #ARGV, 3 do
  if ARGV[i + 2] == '' then
    redis.call('HINCRBY', HELD, ARGV[i], amount)
  end
end
local lease = whole(tonumber(now) + tonumber(ARGV[5]))
redis.call('HSET', HOLD, id, table.concat({ 'held', amount, now, lease, accounts }, '|'))
redis.call('ZADD', LEASE, lease, id)
return { 'hold', 'held', now, lease, now }
