-- Notes an error of ours.
-- id, try, failure → 1, or 0 where the try before failed in the same way, another has taken it over, or it was erased
even_without_memory()
local seen = redis.call('HMGET', key('webhook:' .. ARGV[1]), 'tries', 'failure')
if seen[1] ~= ARGV[2] or seen[2] == ARGV[3] then return 0 end
redis.call('HSET', key('webhook:' .. ARGV[1]), 'failure', ARGV[3])
return 1
