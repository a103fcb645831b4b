-- What is asked of the accounts, by reserve and by extend.
-- ARGV: epoch, clock, hold id, amount, amounts (empty: the amount on all), lease in ms, parties
-- (JSON), the version of the budgets that all this is from (-: any), how many accounts are read, how
-- many of them are kept, and those as JSON; then the names to read (the kept ones first), for each
-- one kept its limit (empty: none), and for each limit that counts others: limit, amount, the place
-- of its own account (0: none is kept), and the places of the first and the last account that count.
local READ, KEPT = tonumber(ARGV[9]), tonumber(ARGV[10])
local HALF_RANGE = 4611686018427387904

local function sums_of(key)
  if READ == 0 then
    return {}
  end
  return redis.call('HMGET', key, unpack(ARGV, 12, 11 + READ))
end

-- Whether a limit bears all that counts against it; `own` is what the request holds already.
local function bears(i, posted, held, own)
  local sum = ARGV[i + 1] - (own[tonumber(ARGV[i + 2])] or 0)
  for place = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]) do
    sum = sum + (posted[place] or 0) + (held[place] or 0)
  end
  return sum <= tonumber(ARGV[i])
end

-- Hold more on every account and give nothing, or hold nothing and give the answer that says why.
-- Settling is never refused, so the sums are kept far from where they would leave 64 bits.
local function set_aside(now, stored, own, more)
  local posted, held, fits, failure = sums_of(POSTED), sums_of(HELD), true, nil
  for place = 1, KEPT do
    local sum, limit = (posted[place] or 0) + (held[place] or 0) + more[place], ARGV[11 + READ + place]
    if limit ~= '' and sum > tonumber(limit) then
      fits = false
    end
    if sum > HALF_RANGE then
      failure = 'is refused: the sum of ' .. ARGV[11 + place] .. ' leaves the 64-bit integers'
    end
  end
  for i = 12 + READ + KEPT, #ARGV, 5 do
    fits = fits and bears(i, posted, held, own)
  end
  if not fits then
    return { 'refused', now, stored, posted, held }
  end
  if failure then
    return { 'error', failure }
  end
  for place = 1, KEPT do
    redis.call('HINCRBY', HELD, ARGV[11 + place], more[place])
  end
end
