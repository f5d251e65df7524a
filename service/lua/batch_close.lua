-- All of a batch has come.
-- id → 1, or 0 where the batch is gone
even_without_memory()
if not is_batch_alive(ARGV[1]) then return 0 end
redis.call('HSET', batch(ARGV[1]), 'status', 'complete')
return 1
