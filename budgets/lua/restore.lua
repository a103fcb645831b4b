-- Put back entries that this ledger may have forgotten; one that is here already changes nothing.
-- What a hold of the same id still holds is given back.
-- ARGV: '', '', then the entries as `add_entry` takes them.
-- Answers: restored, how many were missing. Not bound to a life: it is how the next one begins.
local added = 0
for i = 3, #ARGV, 15 do
  local id, book = ARGV[i], ARGV[i + 1] == '1' and CORRECTION or ENTRY
  if redis.call('HEXISTS', book, id) == 0 then
    local stored = redis.call('HGET', HOLD, id)
    if stored and book == ENTRY then
      local _, amount, each, _, _, _, names = hold_fields(stored)
      local accounts = cjson.decode(names)
      local nothing = on_each('', '0', #accounts)
      post(accounts, nothing, nothing, on_each(each, amount, #accounts))
      drop_hold(id)
    end
    add_entry(book, i)
    added = added + 1
  end
end
return { 'restored', whole(added) }
