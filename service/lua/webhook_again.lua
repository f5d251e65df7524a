-- A delivery is to be tried again.
-- id, try, milliseconds until the next → 1, or 0 where another has taken it over, or it was erased
even_without_memory()
if redis.call('HGET', key('webhook:' .. ARGV[1]), 'tries') ~= ARGV[2] then return 0 end
redis.call('ZADD', key('webhooks'), stamp(now + ARGV[3]), ARGV[1])
return 1
