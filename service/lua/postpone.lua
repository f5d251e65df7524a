-- The files of a job could not be erased: others go first.
-- id, milliseconds → 1
even_without_memory()
local due = redis.call('ZSCORE', key('due'), ARGV[1])
if due and tonumber(due) <= now then redis.call('ZADD', key('due'), stamp(now + ARGV[2]), ARGV[1]) end
return 1
