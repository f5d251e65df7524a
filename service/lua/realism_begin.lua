-- Begins a game. Where there are as many as may be, the oldest are over.
-- game, milliseconds that it lasts, most games, who pays for it, its rounds, rounds of one player that count in a day (0: no limit),
-- most players → 1 where its answers count, else 0
local MOST_AT_ONCE = 100  -- that end in one call

local games, players = key('realism:games'), key('realism:players')
local function finish_games(ended)
  for _, game in ipairs(ended) do
    redis.call('ZREM', games, game)
    redis.call('HDEL', key('realism:answered'), game)
  end
end
finish_games(redis.call('ZRANGEBYSCORE', games, '-inf', stamp(now), 'LIMIT', 0, MOST_AT_ONCE))
local spare = redis.call('ZCARD', games) + 1 - ARGV[3]
if spare > 0 then finish_games(redis.call('ZRANGE', games, 0, math.min(spare, MOST_AT_ONCE) - 1)) end
redis.call('ZADD', games, stamp(now + ARGV[2]), ARGV[1])

if ARGV[6] == '0' then return 1 end
local counted = redis.call('HGET', players, ARGV[4])
if not counted and redis.call('HLEN', players) >= tonumber(ARGV[7]) then return 0 end
if (counted or 0) + ARGV[5] > tonumber(ARGV[6]) then return 0 end
redis.call('HINCRBY', players, ARGV[4], ARGV[5])
if redis.call('TTL', players) < 0 then redis.call('EXPIRE', players, 24 * 3600) end
return 1
