-- The photo of an upload that became no job is erased: its bytes of the store are given back.
-- id, bytes of the photo, room for its results, 1 where nothing can be written any more, mark of this call → 1
even_without_memory()
local id = ARGV[1]
if not redis.call('HGET', key('stored'), id) then return 1 end  -- erased with all of this id
if not redis.call('SET', key('reserved:' .. ARGV[5]), 1, 'NX', 'PX', MARK_MS) then return 1 end  -- said again, the answer was lost
settle_store(id, -ARGV[2], tonumber(ARGV[3]))
-- Nothing is left of an id that nobody uses: refused photos would fill the record.
if ARGV[4] == '1' and redis.call('HGET', key('stored'), id) == '0' and redis.call('EXISTS', job(id)) == 0 then
  drop_store(id)
  redis.call('ZREM', key('due'), id)
end
return 1
