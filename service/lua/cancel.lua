-- Leaves an erased record of a job, and of those that color its photo anew. Their files are due at once.
-- id → the ids of all; none where there is nothing to erase
even_without_memory()
local seen = redis.call('HGET', job(ARGV[1]), 'status')
if not seen or seen == 'expired' or seen == 'canceled' then return {} end
local erased = erase_with_revisions(ARGV[1], 'canceled')
redis.call('ZADD', key('due'), stamp(now), ARGV[1])
return erased
