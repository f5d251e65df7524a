-- Leaves an erased record of a job. Its files are due at once.
-- id → 1, or 0 where there is nothing to erase
even_without_memory()
local seen = redis.call('HGET', job(ARGV[1]), 'status')
if not seen or seen == 'expired' or seen == 'canceled' then return 0 end
erase_record(ARGV[1], 'canceled')
redis.call('ZADD', key('due'), stamp(now), ARGV[1])
return 1
