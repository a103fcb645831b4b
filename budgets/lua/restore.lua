-- Put back entries that this ledger may have forgotten; one that is here already changes nothing.
-- ARGV: '', '', then for each: hold id, '1' for a correction, state, posted, overrun, ended_ms, event
-- id, payload (empty: the warehouse has it), event id as JSON, accounts.
-- Answers: restored, how many were missing. Not bound to a life: it is how the next one begins.
local added = 0
for i = 3, #ARGV, 10 do
  local id, book = ARGV[i], ARGV[i + 1] == '1' and CORRECTION or ENTRY
  if redis.call('HEXISTS', book, id) == 0 then
    local freed, accounts = '0', ARGV[i + 9]
    local stored = redis.call('HGET', HOLD, id)
    if stored and book == ENTRY then
      local _, amount, _, _, names = hold_fields(stored)
      freed, accounts = amount, names
      drop_hold(id)
    end
    post(accounts, ARGV[i + 3], ARGV[i + 4], freed)
    redis.call('HSET', book, id,
      entry_text(ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 8], accounts))
    if ARGV[i + 7] ~= '' then
      append(ARGV[i + 6], ARGV[i + 7])
    end
    added = added + 1
  end
end
return { 'restored', whole(added) }
