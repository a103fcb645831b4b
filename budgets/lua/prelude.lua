-- What every script of the ledger begins with. Amounts are whole nano-USD in decimal text; sums are
-- kept by HINCRBY, exact to 64 bits, and compared as doubles, exact up to 2^53, beyond every limit.
local META, POSTED, HELD, OVERRUN, HOLD, DRAFT, LEASE, ENTRY, CORRECTION, OUTBOX = unpack(KEYS)
local HALF_RANGE = 4611686018427387904

-- ARGV[1] is the life of the ledger that the caller knows; in another one nothing is done.
local function lost()
  return redis.call('HGET', META, 'epoch') ~= ARGV[1]
end

local function whole(number)
  return string.format('%.0f', number)
end

local function minus(amount)
  return amount == '0' and '0' or '-' .. amount
end

-- ARGV[2] is the caller's clock in milliseconds; where it is empty, the time is this server's.
local function clock()
  if ARGV[2] ~= '' then
    return ARGV[2]
  end
  local now = redis.call('TIME')
  return whole(now[1] * 1000 + math.floor(now[2] / 1000))
end

local function sum_of(key, account)
  return redis.call('HGET', key, account) or '0'
end

-- state, amount, admitted_ms, lease_until_ms, accounts (a JSON array)
local function hold_fields(stored)
  return string.match(stored, '^([^|]*)|([^|]*)|([^|]*)|([^|]*)|(.*)$')
end

-- Numbered by the microsecond, or on from the last: a number never comes back.
local function append(event_id, payload)
  local now = redis.call('TIME')
  local last = tonumber(redis.call('HGET', META, 'seq') or '0')
  local seq = whole(math.max(now[1] * 1000000 + now[2], last + 1))
  redis.call('HSET', META, 'seq', seq)
  redis.call('XADD', OUTBOX, seq .. '-0', 'id', event_id, 'payload', payload)
end

local function entry_text(state, posted, overrun, ended_ms, event_json, accounts)
  return '["' .. state .. '",' .. posted .. ',' .. overrun .. ',' .. ended_ms .. ','
    .. event_json .. ',' .. accounts .. ']'
end

local function post(accounts, posted, overrun, freed)
  for _, account in ipairs(cjson.decode(accounts)) do
    redis.call('HINCRBY', HELD, account, minus(freed))
    redis.call('HINCRBY', POSTED, account, posted)
    if overrun ~= '0' then
      redis.call('HINCRBY', OVERRUN, account, overrun)
    end
  end
end

local function drop_hold(id)
  redis.call('HDEL', HOLD, id)
  redis.call('HDEL', DRAFT, id)
  redis.call('ZREM', LEASE, id)
end

-- End an open hold: money, entry and event in one step.
local function end_hold(id, stored, ending, posted, event_id, payload, ended_ms, event_json)
  local _, amount, _, _, accounts = hold_fields(stored)
  local overrun = whole(math.max(0, tonumber(posted) - tonumber(amount)))
  post(accounts, posted, overrun, amount)
  redis.call('HSET', ENTRY, id,
    entry_text(ending, posted, overrun, ended_ms, event_json, accounts))
  drop_hold(id)
  if event_json ~= 'null' then
    append(event_id, payload)
  end
  return { 'ended', ending, posted, overrun, '0', '0' }
end

-- The outcome of a hold or of its correction once more.
local function repeated(text, correction)
  local entry = cjson.decode(text)
  return { 'ended', entry[1], whole(entry[2]), whole(entry[3]), '1', correction }
end
