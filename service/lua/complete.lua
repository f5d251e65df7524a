-- The job has succeeded with this result.
-- id, attempt, key, width, height, media type, sha256, bytes, artifacts, notices, photos of a batch that it led through the net or 0,
-- then of each stage that was not noted yet: its name, its seconds → 1, or 0 where the attempt is stale
even_without_memory()
local id = ARGV[1]
local seen = redis.call('HMGET', job(id), 'status', 'result_key')
if seen[1] == 'succeeded' and seen[2] == ARGV[3] then return 1 end  -- said again, the answer was lost
if not is_held(id, ARGV[2]) then return 0 end
set_fields(id, 'result_key', ARGV[3], 'result_width', ARGV[4], 'result_height', ARGV[5],
  'result_media_type', ARGV[6], 'result_sha256', ARGV[7], 'result_bytes', ARGV[8], 'artifacts', ARGV[9], 'notices', ARGV[10],
  'completed', stamp(now))
if ARGV[10] ~= '' then count_record(id, math.ceil(BYTES_IN_PIECES * #ARGV[10])) end
note_stages(id, 12)
if tonumber(ARGV[11]) > 0 then
  increment('batch:count')
  redis.call('HINCRBY', key('counters'), 'batch:sum', ARGV[11])
end
local written = tonumber(ARGV[8])
for _, artifact in ipairs(cjson.decode(ARGV[9] ~= '' and ARGV[9] or '[]')) do written = written + artifact.bytes end
settle_store(id, written)
measure(id)
finish(id, 'succeeded')
return 1
