-- None of a batch's files is left.
-- id → 1
even_without_memory()
redis.call('DEL', batch(ARGV[1]) .. ':files')
redis.call('ZREM', key('batches:erasing'), ARGV[1])
return 1
