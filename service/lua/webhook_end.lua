-- A delivery has ended.
-- id, try, outcome → 1, or 0 where another has taken it over, or it was erased
even_without_memory()
if redis.call('HGET', key('webhook:' .. ARGV[1]), 'tries') ~= ARGV[2] then return 0 end
redis.call('DEL', key('webhook:' .. ARGV[1]))
redis.call('ZREM', key('webhooks'), ARGV[1])
increment('webhooks:' .. ARGV[3])
return 1
