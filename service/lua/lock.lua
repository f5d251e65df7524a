-- name, token, milliseconds → whether this lock is now one's own
even_without_memory()
if redis.call('SET', key(ARGV[1]), ARGV[2], 'NX', 'PX', ARGV[3]) then return 1 end
return redis.call('GET', key(ARGV[1])) == ARGV[2] and 1 or 0  -- said again, the answer was lost
