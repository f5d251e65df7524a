-- The job has succeeded with this result.
-- id, attempt, seconds of save, key, width, height, media type, sha256, bytes, artifacts, notices → 1, or 0 where the attempt is stale
even_without_memory()
local id = ARGV[1]
local seen = redis.call('HMGET', job(id), 'status', 'result_key')
if seen[1] == 'succeeded' and seen[2] == ARGV[4] then return 1 end  -- said again, the answer was lost
if not is_held(id, ARGV[2]) then return 0 end
redis.call('HSET', job(id), 'seconds_save', ARGV[3], 'result_key', ARGV[4], 'result_width', ARGV[5], 'result_height', ARGV[6],
  'result_media_type', ARGV[7], 'result_sha256', ARGV[8], 'result_bytes', ARGV[9], 'artifacts', ARGV[10],
  'notices', ARGV[11])
measure_stage('save', ARGV[3])
measure(id)
finish(id, 'succeeded')
return 1
