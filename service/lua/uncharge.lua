-- Gives back what was taken off a quota.
-- who, megapixels a minute, pixels, token → 1
even_without_memory()
redis.call('ZREM', key('quota:' .. ARGV[1]), ARGV[4] .. ':' .. quota_cost(ARGV[3], tonumber(ARGV[2])))
return 1
