-- A file is to be charged when its turn comes again.
-- id, place → 1
even_without_memory()
redis.call('SREM', batch(ARGV[1]) .. ':charged', ARGV[2])
return 1
