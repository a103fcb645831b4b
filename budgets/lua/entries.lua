-- Endings: what they do to money, the entry that is kept of each, and its event.

-- Numbered by the microsecond, or on from the last: a number never comes back.
local function append(event_id, payload)
  local now = redis.call('TIME')
  local last = tonumber(redis.call('HGET', META, 'seq') or '0')
  local seq = whole(math.max(now[1] * 1000000 + now[2], last + 1))
  redis.call('HSET', META, 'seq', seq)
  redis.call('XADD', OUTBOX, seq .. '-0', 'id', event_id, 'payload', payload)
end

local function minus(amount)
  return amount == '0' and '0' or '-' .. amount
end

local function beyond(posted, held)
  return whole(math.max(0, posted - held))
end

-- Lists: what each of the accounts takes, what of it was not held, and what is given back to it.
local function post(accounts, posted, overrun, freed)
  for place, account in ipairs(accounts) do
    redis.call('HINCRBY', HELD, account, minus(freed[place]))
    redis.call('HINCRBY', POSTED, account, posted[place])
    if overrun[place] ~= '0' then
      redis.call('HINCRBY', OVERRUN, account, overrun[place])
    end
  end
end

-- state, posted, overrun, ended_ms, event id, admitted_ms, parties, model, tokens, what each account
-- took as [posted, overrun] (null: the same on all), accounts
local function entry_text(state, ...)
  return '["' .. state .. '",' .. table.concat({ ... }, ',') .. ']'
end

local function lists_text(posted, overrun)
  return '[[' .. table.concat(posted, ',') .. '],[' .. table.concat(overrun, ',') .. ']]'
end

local function drop_hold(id)
  redis.call('HDEL', HOLD, id)
  redis.call('HDEL', DRAFT, id)
  redis.call('ZREM', LEASE, id)
end

-- End an open hold: money, entry and event in one step. `taken` is what each account takes, empty
-- where that is `posted` on all. From ARGV[at] on: event id, payload, ended_ms (empty: when it was
-- admitted), event id as JSON (null: no event).
local function end_hold(id, stored, ending, posted, taken, tokens, model, at)
  local _, amount, each, admitted, _, parties, names = hold_fields(stored)
  local accounts = cjson.decode(names)
  local held, takes = on_each(each, amount, #accounts), on_each(taken, posted, #accounts)
  local overrun, lists = beyond(posted, amount), 'null'
  local overruns = on_each('', overrun, #accounts)
  if taken ~= '' then
    for place, take in ipairs(takes) do
      overruns[place] = beyond(take, held[place])
    end
    lists = lists_text(takes, overruns)
  end
  post(accounts, takes, overruns, held)
  local ended_ms = ARGV[at + 2] == '' and admitted or ARGV[at + 2]
  redis.call('HSET', ENTRY, id, entry_text(ending, posted, overrun, ended_ms, ARGV[at + 3],
    admitted, parties, model, tokens, lists, names))
  drop_hold(id)
  if ARGV[at + 3] ~= 'null' then
    append(ARGV[at], ARGV[at + 1])
  end
  return { 'ended', ending, posted, overrun, '0', '0' }
end

-- Add an entry as the caller tells it. From ARGV[at] on: hold id, '1' for a correction, state,
-- posted, overrun, what each account takes of both (empty: the same), ended_ms, event id as JSON,
-- admitted_ms, parties, tokens, accounts, event id, payload (empty: it is elsewhere).
local function add_entry(book, at)
  local posted, overrun, takes, overruns = unpack(ARGV, at + 3, at + 6)
  local names, lists = ARGV[at + 12], 'null'
  local accounts = cjson.decode(names)
  if takes ~= '' then
    lists = '[[' .. takes .. '],[' .. overruns .. ']]'
  end
  post(accounts, on_each(takes, posted, #accounts), on_each(overruns, overrun, #accounts),
    on_each('', '0', #accounts))
  redis.call('HSET', book, ARGV[at], entry_text(ARGV[at + 2], posted, overrun, ARGV[at + 7],
    ARGV[at + 8], ARGV[at + 9], ARGV[at + 10], '""', ARGV[at + 11], lists, names))
  if ARGV[at + 14] ~= '' then
    append(ARGV[at + 13], ARGV[at + 14])
  end
end

-- The outcome of a hold or of its correction once more.
local function repeated(text, correction)
  local entry = cjson.decode(text)
  return { 'ended', entry[1], whole(entry[2]), whole(entry[3]), '1', correction }
end
