-- Promises that files under an id are erased, even if no record ever follows: they may now be written. Takes their bytes of the store.
-- id, milliseconds, bytes of the photo, room for its results, most bytes in the store or 0, bytes that may still be written to its disk or -1
-- → {1}, {0} where the id is taken, or {-1: the store is full, -2: its disk is, milliseconds until something is erased}
local id, photo, room = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('EXISTS', job(id)) == 1 then return {0} end
local most, free, full = tonumber(ARGV[5]), tonumber(ARGV[6]), nil
if most > 0 and sum('store') + photo + room > most then full = -1 end
if free >= 0 and sum('room') + photo + room > free then full = -2 end
if full then
  local first = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')
  return {full, first[2] and math.max(0, first[2] - now) or -1}
end
redis.call('ZADD', key('due'), stamp(now + ARGV[2]), id)
take_store(id, photo, room)
return {1}
