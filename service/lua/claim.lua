-- Gives a worker the best queued job: the one whose turn it is. Where that has no room in this worker, none slips past it. A job with a
-- failed attempt behind it runs alone: it needs an empty worker, and has no room beside it.
-- worker, lease, lease per megapixel, net, hash of its weights, room in pixels, 1 where the worker is empty, mark of this call,
-- 1 where it answers a notification
-- → {id, attempt, options, pixels, request id, upload, failed attempts}; {} where there is no room for the best; nil where none waits
even_without_memory()
local worker, mine = ARGV[1], key('worker:' .. ARGV[1] .. ':jobs')

local function claimed(id)
  local seen = redis.call('HMGET', job(id), 'attempt', 'pixels', 'request_id', 'upload', 'failures')
  return {id, seen[1], get_field(id, 'options'), seen[2], seen[3], seen[4], seen[5]}
end

local function best()
  local from = 0
  while true do
    local ids = redis.call('ZRANGE', key('queued'), from, from + 49)
    if #ids == 0 then return nil end
    for _, id in ipairs(ids) do
      if now < tonumber(redis.call('HGET', job(id), 'expires')) then return id end
    end
    from = from + 50
  end
end

if ARGV[9] == '1' and tonumber(redis.call('GET', key('notifications')) or 0) > 0 then redis.call('DECR', key('notifications')) end
local beats = redis.call('EXISTS', key('worker:' .. worker))
if beats == 1 then
  redis.call('HSET', key('worker:' .. worker), 'asked', stamp(now))
end
local held, isolated = redis.call('SMEMBERS', mine), false
for _, other in ipairs(held) do
  local seen = redis.call('HMGET', job(other), 'claim', 'failures')
  if seen[1] == ARGV[8] then return claimed(other) end  -- the answer to this call was lost, and it came again
  isolated = isolated or tonumber(seen[2] or 0) > 0
end
local id = best()
if not id then return nil end
local seen = redis.call('HMGET', job(id), 'pixels', 'failures')
local is_empty = ARGV[7] == '1'
local has_room = is_empty or tonumber(seen[1]) <= tonumber(ARGV[6])
if tonumber(seen[2] or 0) > 0 then has_room = is_empty and #held == 0 end
if isolated or not has_room then return {} end

for _, field in ipairs(redis.call('HKEYS', job(id))) do  -- what an earlier attempt took
  if string.sub(field, 1, 8) == 'seconds_' then redis.call('HDEL', job(id), field) end
end
if redis.call('ZCARD', key('running')) == 0 then redis.call('HSET', key('sums'), 'mark', stamp(now)) end
leave(id)
redis.call('HSET', job(id), 'status', 'running', 'stage', 'open', 'worker', worker, 'net', ARGV[4], 'net_sha256', ARGV[5],
  'claim', ARGV[8], 'beats', beats)
redis.call('HINCRBY', key('sums'), 'running', seen[1])
lease(id, ARGV[2], ARGV[3])
redis.call('SADD', mine, id)
redis.call('PEXPIRE', mine, ERASED_RECORD_MS)
redis.call('HINCRBY', job(id), 'attempt', 1)
publish(id, false)
return claimed(id)
