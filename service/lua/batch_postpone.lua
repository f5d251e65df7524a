-- Other batches go first for so long.
-- id, milliseconds → 1
even_without_memory()
redis.call('ZADD', key('batches'), 'XX', stamp(now + ARGV[2]), ARGV[1])
return 1
