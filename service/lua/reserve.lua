-- Promises that files under an id are erased, even if no record ever follows: they may now be written. Takes their bytes of the store.
-- id, milliseconds, bytes of the photo, room for its results, most bytes in the store or 0, bytes that may still be written to its disk or -1,
-- who pays or '', most bytes that one may hold or 0
-- → {1}, {0} where the id is taken, or {what `lacks_room` says, milliseconds until something is erased}
local id, photo, room = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])
if redis.call('EXISTS', job(id)) == 1 then return {0} end
local lack = lacks_room(photo, room, tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8]))
if lack then return {lack, first_due()} end
redis.call('ZADD', key('due'), stamp(now + ARGV[2]), id)
take_store(id, photo, room, ARGV[7])
return {1}
