-- Promises that files under an id are erased, even if no record ever follows: they may now be written.
-- id, milliseconds → 1, or 0 where the id is taken
if redis.call('EXISTS', job(ARGV[1])) == 1 then return 0 end
redis.call('ZADD', key('due'), stamp(now + ARGV[2]), ARGV[1])
return 1
