-- Gives a worker the best queued job: the one whose turn it is. Where that has no room in this worker, none slips past it. A job with a
-- failed attempt behind it runs alone. Nobody else waits for that: such jobs come by themselves, and one worker after another empties itself for one.
-- worker, lease, lease per megapixel, net, hash of its weights, room in bytes, 1 where the worker is empty, mark of this call,
-- 1 where it answers a notification
-- → {id, attempt, options, pixels, request id, upload, failed attempts, bytes of memory, id of the job whose photo is colored
-- anew or ''}; {} where there is no room for the best; nil where none waits
even_without_memory()
local BYTES_A_PIXEL = 64  -- where a record does not say what memory its photo takes
local ISOLATED_MS = 3600 * 1000  -- longer than any attempt
local EMPTYING_MS = 5000  -- a worker that empties itself asks each second
local worker, mine = ARGV[1], key('worker:' .. ARGV[1] .. ':jobs')
local is_empty = ARGV[7] == '1'

-- bytes that a worker needs for a job's photo
local function memory(id)
  local seen = redis.call('HMGET', job(id), 'memory', 'pixels')
  return tonumber(seen[1] or 0) > 0 and tonumber(seen[1]) or BYTES_A_PIXEL * seen[2]
end

local function claimed(id)
  local seen = redis.call('HMGET', job(id), 'attempt', 'pixels', 'request_id', 'upload', 'failures', 'revises')
  return {id, seen[1], get_field(id, 'options'), seen[2], seen[3], seen[4], seen[5], memory(id), seen[6] or ''}
end

local function best(from, to)
  local at = 0
  while true do
    local ids = redis.call('ZRANGEBYSCORE', key('queued'), from, to, 'LIMIT', at, 50)
    if #ids == 0 then return nil end
    for _, id in ipairs(ids) do
      if now < tonumber(redis.call('HGET', job(id), 'expires')) then return id end
    end
    at = at + 50
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
local id, failed = best('-inf', '(' .. stamp(ISOLATED_TURN)), best(stamp(ISOLATED_TURN), '+inf')
if not (id or failed) then return nil end
if isolated then return {} end

-- Whether this worker is the one that empties itself, or may be: at most half of all at once. While all but one are gone, the one that is left
-- does others first, since a photo may end it as well. Where there is only one, it does others for as long as the last such attempt took.
local function is_to_isolate()
  redis.call('ZREMRANGEBYSCORE', key('isolating'), '-inf', stamp(now))
  if redis.call('ZSCORE', key('isolating'), worker) then return true end
  local most = 1
  if tonumber(redis.call('GET', key('crew')) or 0) > 1 then
    most = math.floor(redis.call('ZCOUNT', key('workers'), stamp(now - 4000), '+inf') / 2)
    if most == 0 and is_empty and not id then most = 1 end
  elseif (id or not is_empty) and redis.call('EXISTS', key('isolated')) == 1 then
    return false
  end
  return redis.call('ZCARD', key('isolating')) < most
end

if failed and is_to_isolate() then
  local is_alone = is_empty and #held == 0
  redis.call('ZADD', key('isolating'), stamp(now + (is_alone and ISOLATED_MS or EMPTYING_MS)), worker)
  if not is_alone then return {} end
  id = failed
elseif not id then
  return nil
elseif not is_empty and memory(id) > tonumber(ARGV[6]) then
  return {}
end

for _, field in ipairs(redis.call('HKEYS', job(id))) do  -- what an earlier attempt took
  if string.sub(field, 1, 2) == 's_' then redis.call('HDEL', job(id), field) end
end
if redis.call('ZCARD', key('running')) == 0 then redis.call('HSET', key('sums'), 'mark', stamp(now)) end
leave(id)
redis.call('HSET', job(id), 'status', 'running', 'stage', 'open', 'worker', worker, 'net', ARGV[4], 'net_sha256', ARGV[5],
  'claim', ARGV[8], 'beats', beats)
if id == failed then redis.call('HSET', job(id), 'isolated', stamp(now)) end
redis.call('HINCRBY', key('sums'), 'running', redis.call('HGET', job(id), 'pixels'))
lease(id, ARGV[2], ARGV[3])
redis.call('SADD', mine, id)
redis.call('PEXPIRE', mine, ERASED_RECORD_MS)
redis.call('HINCRBY', job(id), 'attempt', 1)
publish(id, false)
return claimed(id)
