-- An open hold as a text: state|amount;amounts|admitted_ms|lease_until_ms|parties|accounts
-- `amounts` (`7,30,1`) is empty where the amount is the same on every account. Parties and accounts
-- are JSON; that of the parties has no bar in it.
local function hold_text(state, amount, each, admitted, lease, parties, accounts)
  return table.concat({ state, amount .. ';' .. each, admitted, lease, parties, accounts }, '|')
end

local function hold_fields(stored)
  local state, amount, each, admitted, lease, parties, accounts =
    string.match(stored, '^(%a+)|(%d+);([%d,]*)|(%d+)|(%d+)|([^|]*)|(.*)$')
  if not state then -- it was set aside before holds had parties and amounts of their own
    state, amount, admitted, lease, accounts =
      string.match(stored, '^(%a+)|(%d+)|(%d+)|(%d+)|(.*)$')
    each, parties = '', 'null'
  end
  return state, amount, each, admitted, lease, parties, accounts
end

-- What each of `count` accounts takes: its own amount, or the one that all of them take.
local function on_each(each, all, count)
  local list = {}
  for amount in string.gmatch(each, '[^,]+') do
    list[#list + 1] = amount
  end
  for place = #list + 1, count do
    list[place] = all
  end
  return list
end
