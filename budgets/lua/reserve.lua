-- Set amounts aside on every account, or on none. ARGV: see limits.lua
-- Answers: hold, state, admitted_ms, lease_until_ms, now_ms
--        | refused, now_ms, '', what is posted and what is held on each account that was read
--        | budgets_changed      other budgets are in force than those that the limits are from
if lost() then
  return { 'lost' }
end
local now, id, amount, each, accounts = clock(), ARGV[3], ARGV[4], ARGV[5], ARGV[11]
local stored = redis.call('HGET', HOLD, id)
if stored then
  local state, first, first_each, admitted, lease, _, names = hold_fields(stored)
  if first ~= amount or first_each ~= each or names ~= accounts then
    return { 'error', 'is set aside with another amount or accounts' }
  end
  return { 'hold', state, admitted, lease, now }
end
if redis.call('HEXISTS', ENTRY, id) == 1 then
  return { 'error', 'has ended before' }
end
if ARGV[8] ~= '-' and ARGV[8] ~= (redis.call('HGET', META, 'budgets_version') or '') then
  return { 'budgets_changed' }
end
local refusal = set_aside(now, '', {}, on_each(each, amount, KEPT))
if refusal then
  return refusal
end
local lease = whole(now + ARGV[6])
redis.call('HSET', HOLD, id, hold_text('held', amount, each, now, lease, ARGV[7], accounts))
redis.call('ZADD', LEASE, lease, id)
return { 'hold', 'held', now, lease, now }
