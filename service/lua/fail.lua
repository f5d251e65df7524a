-- The job cannot succeed, now or later.
-- id, attempt, code, detail → 1, or 0 where the attempt is stale
even_without_memory()
local id = ARGV[1]
local seen = redis.call('HMGET', job(id), 'status', 'attempt', 'error_code')
if seen[1] == 'failed' and seen[2] == ARGV[2] and seen[3] == ARGV[3] then return 1 end  -- said again
if not is_held(id, ARGV[2]) then return 0 end
measure(id)
finish(id, 'failed', ARGV[3], ARGV[4])
return 1
