-- Gives a place in the store to a photo that its sender will write there. Its files are erased when its time is up.
-- id, owner, bytes, milliseconds, most bytes of one owner, most of all
-- → when its time is up; 0 where the owner has too much under way, -1 where all have
local LEAST = 2 ^ 20  -- what a place costs at least: so the bytes bound how many there are

local function cost(bytes) return math.max(tonumber(bytes), LEAST) end

local all, own = cost(ARGV[3]), cost(ARGV[3])
for _, place in ipairs(redis.call('ZRANGEBYSCORE', key('places'), '(' .. stamp(now), '+inf')) do
  local id, owner, bytes = string.match(place, '^(%x+):(.*):(%d+)$')
  if id == ARGV[1] then return stamp(redis.call('ZSCORE', key('places'), place)) end  -- the answer was lost, and it came again
  all = all + cost(bytes)
  if owner == ARGV[2] then own = own + cost(bytes) end
end
if own > tonumber(ARGV[5]) then return 0 end
if all > tonumber(ARGV[6]) then return -1 end
local expires, place = stamp(now + ARGV[4]), string.format('%s:%s:%s', ARGV[1], ARGV[2], ARGV[3])
redis.call('SET', key('place:' .. ARGV[1]), place, 'PXAT', expires)
redis.call('ZADD', key('places'), expires, place)
redis.call('ZADD', key('due'), expires, ARGV[1])
redis.call('ZREMRANGEBYSCORE', key('places'), '-inf', stamp(now))
return expires
