-- A worker lives, and has its net loaded.
-- worker, milliseconds, net, hash of its weights, device, ms since 1970 when it last took a job, jobs that it works on at once → 1
even_without_memory()
local CREW_MS = 30 * 1000  -- in which a worker that died is started again
local worker = key('worker:' .. ARGV[1])
redis.call('HSET', worker, 'net', ARGV[3], 'net_sha256', ARGV[4], 'device', ARGV[5], 'took', ARGV[6],
  'threads', ARGV[7])
redis.call('HSETNX', worker, 'born', stamp(now))
redis.call('PEXPIRE', worker, ARGV[2])
redis.call('ZREMRANGEBYSCORE', key('workers'), '-inf', stamp(now - ARGV[2]))
redis.call('ZADD', key('workers'), stamp(now), ARGV[1])
-- One that is started again has its net loaded later than that, and is not counted beside the one that it replaces.
local crew = redis.call('ZCOUNT', key('workers'), stamp(now - 2200), '+inf')
if crew >= tonumber(redis.call('GET', key('crew')) or 0) then redis.call('SET', key('crew'), crew, 'PX', CREW_MS) end
return 1
