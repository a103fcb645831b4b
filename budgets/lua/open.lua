-- Bring the sum of each account's openings to a total, by an entry for what is missing.
-- ARGV: epoch, clock, the life in which the totals were derived (empty: now), the number of its
-- newest event then, now_ms, then for each: account, its name as a JSON list, total.
-- Totals that are older than those that were posted last are left out.   Answers: opened
if lost() then
  return { 'lost' }
end
local as_of, now_ms = ARGV[4], ARGV[5]
if ARGV[3] == '' then
  as_of = redis.call('HGET', META, 'seq') or '0'
elseif ARGV[3] ~= ARGV[1] then
  return { 'error', 'is derived from an earlier life of the ledger' }
end
for i = 6, #ARGV, 3 do
  local account, total = ARGV[i], ARGV[i + 2]
  local opened = redis.call('HGET', OPENING, account) or '0|0|0'
  local count, before, seen = string.match(opened, '^(%d+)|(-?%d+)|(%d+)$')
  if tonumber(as_of) >= tonumber(seen) then
    local delta = whole(total - before)
    if delta ~= '0' then
      count = whole(count + 1)
      post({ account }, { delta }, { '0' }, { '0' })
      redis.call('HSET', ENTRY, 'opening:' .. account .. '|' .. count, entry_text('settled', delta, '0',
        now_ms, 'null', now_ms, 'null', '""', '0', 'null', ARGV[i + 1]))
    end
    redis.call('HSET', OPENING, account, table.concat({ count, total, as_of }, '|'))
  end
end
return { 'opened' }
