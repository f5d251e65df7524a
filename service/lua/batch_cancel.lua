-- Leaves an erased record of a batch, until its files are erased with the list of them.
-- id → 1: its files are to be erased, or 0 where there is nothing to erase
even_without_memory()
local id = ARGV[1]
if not is_batch_alive(id) then return 0 end
redis.call('HSET', batch(id), 'status', 'canceled')
close_batch(id)
redis.call('ZADD', key('batches:erasing'), stamp(now), id)
return 1
