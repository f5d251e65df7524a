-- Notes stages that have ended, and the one that has begun, which lengthens the lease.
-- id, attempt, lease, lease per megapixel, next stage, then of each that ended: its name, its seconds → 1, or 0 where the attempt is stale
even_without_memory()
local id = ARGV[1]
if not is_held(id, ARGV[2]) then return 0 end
lease(id, ARGV[3], ARGV[4])
if redis.call('HGET', job(id), 'stage') == ARGV[5] then return 1 end  -- said again, the answer was lost
redis.call('HSET', job(id), 'stage', ARGV[5])
note_stages(id, 6)
publish(id, false)
return 1
