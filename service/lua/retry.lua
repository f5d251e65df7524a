-- Gives a job back after an error of ours.
-- id, attempt, code, detail, most failed attempts, 1 where this attempt failed → 1: it waits again, 0: it failed, -1: stale
even_without_memory()
local id = ARGV[1]
local seen = redis.call('HMGET', job(id), 'status', 'attempt')
if seen[1] == 'queued' and seen[2] == ARGV[2] then return 1 end  -- said again, or reaped: it waits
if seen[1] == 'failed' and seen[2] == ARGV[2] then return 0 end
if not is_held(id, ARGV[2]) then return -1 end
if ARGV[6] == '1' then note_failure(id) end
return requeue(id, ARGV[3], ARGV[4], ARGV[5]) and 1 or 0
