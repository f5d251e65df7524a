-- A file has its job; the other batches have their turn.
-- id, place → 1, or 0 where the batch is gone
even_without_memory()
redis.call('ZREM', batch(ARGV[1]) .. ':waiting', ARGV[2])
redis.call('SREM', batch(ARGV[1]) .. ':charged', ARGV[2])
redis.call('ZADD', key('batches'), 'XX', stamp(now), ARGV[1])
return is_batch_alive(ARGV[1]) and 1 or 0
