-- What is asked of the accounts, by reserve and by extend.
-- ARGV: epoch, clock, hold id, amount, amounts (empty: the amount on all), lease in ms, parties
-- (JSON), accounts (JSON of those that are kept), how many are kept, how many are read, the names to
-- read (the kept ones first), then for each limit: limit, amount, the place of its own account (0:
-- none is kept), and the places of the first and the last account that count against it.
local KEPT, READ = tonumber(ARGV[9]), tonumber(ARGV[10])
local HALF_RANGE = 4611686018427387904

local function sums_of(key)
  if READ == 0 then
    return {}
  end
  return redis.call('HMGET', key, unpack(ARGV, 11, 10 + READ))
end

-- Whether every limit bears what is asked; `own` is what the request holds already.
local function bears(posted, held, own)
  for i = 11 + READ, #ARGV, 5 do
    local sum = ARGV[i + 1] - (own[tonumber(ARGV[i + 2])] or 0)
    for place = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4]) do
      sum = sum + (posted[place] or 0) + (held[place] or 0)
    end
    if sum > tonumber(ARGV[i]) then
      return false
    end
  end
  return true
end

-- Hold more on every account, or on none and give the error. Settling is never refused, so the sums
-- are kept far from where they would leave 64 bits.
local function set_aside(posted, held, more)
  for place = 1, KEPT do
    if (posted[place] or 0) + (held[place] or 0) + more[place] > HALF_RANGE then
      local account = ARGV[10 + place]
      return { 'error', 'is refused: the sum of ' .. account .. ' leaves the 64-bit integers' }
    end
  end
  for place = 1, KEPT do
    redis.call('HINCRBY', HELD, ARGV[10 + place], more[place])
  end
end
