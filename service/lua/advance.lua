-- Notes that a stage has ended and the next has begun, which lengthens the lease.
-- id, attempt, lease, lease per megapixel, ended stage, its seconds, next stage → 1, or 0 where the attempt is stale
even_without_memory()
local id = ARGV[1]
if not is_held(id, ARGV[2]) then return 0 end
lease(id, ARGV[3], ARGV[4])
if redis.call('HGET', job(id), 'stage') == ARGV[7] then return 1 end  -- said again, the answer was lost
redis.call('HSET', job(id), 'seconds_' .. ARGV[5], ARGV[6], 'stage', ARGV[7])
measure_stage(ARGV[5], ARGV[6])
emit(id, 'stage', {name = ARGV[7]})
return 1
