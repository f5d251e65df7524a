-- Promises that files under an id are erased, even if no record ever follows: they may now be written. Takes their bytes of the store.
-- id, milliseconds, bytes of the photo, room for its results, most bytes in the store or 0, bytes that may still be written to its disk or -1,
-- who pays or '', most bytes that one may hold or 0, mark of this call; '' to ask only
-- → {'reserved'}, {'taken'}: the id is, or {what `lacks_room` says, milliseconds until something is erased; -1: nothing is going to be}
local id, photo, room = ARGV[1], tonumber(ARGV[3]), tonumber(ARGV[4])

-- Of what there is too little for so many bytes; nil where they may be written.
local function lacks_room(most, free, payer, most_of_payer)
  local bytes = photo + room
  if most_of_payer > 0 and (redis.call('HGET', key('held'), payer) or 0) + bytes > most_of_payer then return 'sender' end
  if most > 0 and sum('store') + bytes > most then return 'store' end
  if free >= 0 and sum('room') + bytes > free then return 'disk' end
  return nil
end

if redis.call('EXISTS', job(id)) == 1 then return {'taken'} end
local taken = key('reserved:' .. ARGV[9])
if redis.call('EXISTS', taken) == 1 then return {'reserved'} end  -- the answer to this call was lost, and it came again
local lack = lacks_room(tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], tonumber(ARGV[8]))
if lack then
  local first = redis.call('ZRANGE', key('due'), 0, 0, 'WITHSCORES')
  return {lack, first[2] and math.max(0, first[2] - now) or -1}
end
if ARGV[9] == '' then return {'reserved'} end
redis.call('ZADD', key('due'), stamp(now + ARGV[2]), id)
if ARGV[7] ~= '' then redis.call('HSETNX', key('payers'), id, ARGV[7]) end  -- who was the first to write under an id pays for all of it
count_store(id, photo + room)
redis.call('HINCRBY', key('room'), id, stamp(room))
redis.call('HINCRBY', key('sums'), 'room', stamp(room))
redis.call('SET', taken, 1, 'PX', MARK_MS)
return {'reserved'}
