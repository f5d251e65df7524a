-- name, token → 1. The lock may have run out meanwhile, and be another's by now.
even_without_memory()
if redis.call('GET', key(ARGV[1])) == ARGV[2] then redis.call('DEL', key(ARGV[1])) end
return 1
