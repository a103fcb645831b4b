-- What every script of the ledger begins with. Amounts are whole nano-USD, tokens or requests in
-- decimal text; sums are kept by HINCRBY, exact to 64 bits, and compared as doubles, exact up to
-- 2^53, beyond every limit.
local META, POSTED, HELD, OVERRUN, HOLD, DRAFT, LEASE, ENTRY, CORRECTION, OUTBOX, OPENING, COUNTING =
  unpack(KEYS)

-- ARGV[1] is the life of the ledger that the caller knows; in another one nothing is done.
local function lost()
  return redis.call('HGET', META, 'epoch') ~= ARGV[1]
end

local function whole(number)
  return string.format('%.0f', number)
end

-- ARGV[2] is the caller's clock in milliseconds; where it is empty, the time is this server's.
local function clock()
  if ARGV[2] ~= '' then
    return ARGV[2]
  end
  local now = redis.call('TIME')
  return whole(now[1] * 1000 + math.floor(now[2] / 1000))
end
