-- The photo of an upload that became no job is erased: its bytes of the store are given back.
-- id, bytes of the photo, room for its results, mark of this call → 1
even_without_memory()
if not redis.call('HGET', key('stored'), ARGV[1]) then return 1 end  -- erased with all of this id
if not redis.call('SET', key('reserved:' .. ARGV[4]), 1, 'NX', 'PX', MARK_MS) then return 1 end  -- said again, the answer was lost
settle_store(ARGV[1], -ARGV[2], tonumber(ARGV[3]))
return 1
