-- Have an open hold set more aside on every account, or on none. ARGV: see limits.lua; amounts are
-- totals, and lease and parties are left as they were.
-- Answers: hold, state, admitted_ms, lease_until_ms, now_ms
--        | refused, now_ms, the hold, what is posted and what is held on each account that was read
if lost() then
  return { 'lost' }
end
local now, id, amount, each, accounts = clock(), ARGV[3], ARGV[4], ARGV[5], ARGV[11]
local stored = redis.call('HGET', HOLD, id)
if not stored then
  return { 'error', 'is not there to extend' }
end
local state, first, first_each, admitted, lease, parties, names = hold_fields(stored)
local own, more, shrinks = on_each(first_each, first, KEPT), on_each(each, amount, KEPT), false
for place = 1, KEPT do
  local growth = more[place] - own[place]
  shrinks = shrinks or growth < 0
  more[place] = whole(growth)
end
if names ~= accounts or shrinks then
  return { 'error', 'is extended to less, or on other accounts' }
end
local refusal = set_aside(now, stored, own, more)
if refusal then
  return refusal
end
redis.call('HSET', HOLD, id, hold_text(state, amount, each, admitted, lease, parties, names))
return { 'hold', state, admitted, lease, now }
