-- Takes one answer to a round.
-- game, number of the round, 1 where it counts, the net's hash, its name, pair, rounds of the game, 1 where it was wrong
-- → 0: the game is over; 1: it was answered before; 2: it is now
local ends = redis.call('ZSCORE', key('realism:games'), ARGV[1])
if not ends or tonumber(ends) <= now then return 0 end
local answered = tonumber(redis.call('HGET', key('realism:answered'), ARGV[1]) or 0)
local bit = 2 ^ ARGV[2]
if math.floor(answered / bit) % 2 == 1 then return 1 end
redis.call('HSET', key('realism:answered'), ARGV[1], stamp(answered + bit))
if ARGV[3] == '1' then
  local tallies, field = key('realism:net:' .. ARGV[4]), ARGV[6] .. ':' .. ARGV[7]
  redis.call('HSET', key('realism:nets'), ARGV[4], ARGV[5])
  redis.call('HINCRBY', tallies, field .. ':shown', 1)
  redis.call('HINCRBY', tallies, field .. ':fooled', ARGV[8])
end
return 2
