"""The job record's verbs as atomic Lua. Each runs alone in the server and on the server's clock."""

from __future__ import annotations

from service.prelude import ALWAYS, PRELUDE

RESERVE = (
    PRELUDE
    + """
-- id, milliseconds -> 1, or 0 where the id is taken. Files may now be written: they are erased even if no
-- record ever follows.
if redis.call('EXISTS', job(ARGV[1])) == 1 then return 0 end
redis.call('ZADD', key('due'), stamp(now + ARGV[2]), ARGV[1])
return 1
"""
)

CREATE = (
    PRELUDE
    + """
-- id, secret hash, options, pixels, milliseconds to keep, 1 for a batch, owner, request id, fingerprint, group,
-- mark of this very call, most jobs, most pixels, upload
-- -> {1} new; {0} where the id is taken; {-1, jobs, pixels, speed} where there is no room
local id = ARGV[1]
local pixels, most_jobs, most_pixels = tonumber(ARGV[4]), tonumber(ARGV[12]), tonumber(ARGV[13])
if redis.call('EXISTS', job(id)) == 1 then
  -- where the answer to this call was lost, it came again
  return {redis.call('HGET', job(id), 'made') == ARGV[11] and 1 or 0}
end
local waiting = redis.call('ZCARD', key('queued'))
local full = sum('queued') + pixels > most_pixels and waiting > 0
if full or waiting >= most_jobs then
  return {-1, waiting, sum('queued'), tostring((speed() or 0) * 1000)}
end
local expires = stamp(now + ARGV[5])
redis.call('HSET', job(id), 'v', VERSION, 'created', stamp(now), 'expires', expires, 'secret', ARGV[2],
  'options', ARGV[3], 'pixels', ARGV[4], 'batch', ARGV[6], 'owner', ARGV[7], 'request_id', ARGV[8],
  'fingerprint', ARGV[9], 'group', ARGV[10], 'made', ARGV[11], 'upload', ARGV[14],
  'attempt', 0, 'strikes', 0)
redis.call('ZADD', key('due'), expires, id)
line_up(id)
return {1}
"""
)

SHOW = (
    PRELUDE
    + """
-- id -> {now, place in the queue, seconds until it is done, fields and values}; empty where there is none
local record = redis.call('HGETALL', job(ARGV[1]))
local rank = redis.call('ZRANK', key('queued'), ARGV[1])
if not rank then return {now, false, false, record} end
local seconds = eta(ARGV[1], rank + 1)
return {now, rank + 1, seconds and tostring(seconds) or false, record}
"""
)

DEPTH = (
    PRELUDE
    + """
-- nothing -> {jobs and pixels that wait, jobs and pixels that run, pixels per second, ms the oldest has waited}
local oldest = now
for _, set in ipairs({'queued', 'batched'}) do
  local first = redis.call('ZRANGE', key(set), 0, 0, 'WITHSCORES')
  if first[2] then oldest = math.min(oldest, first[2]) end
end
return {redis.call('ZCARD', key('queued')), sum('queued'), redis.call('ZCARD', key('running')),
  sum('running'), tostring((speed() or 0) * 1000), now - oldest}
"""
)

CLAIM = (
    ALWAYS
    + """
-- worker, lease, lease per megapixel, net, hash of its weights, room in pixels, 1 where the worker is empty,
-- mark of this very call -> {id, attempt, options, pixels, request id, upload, suspect};
-- {pixels, suspect} where the next one has no room there; or nil where none waits
local worker, mine = ARGV[1], key('worker:' .. ARGV[1] .. ':jobs')
local wanted = {'attempt', 'options', 'pixels', 'request_id', 'upload', 'suspect'}

local function claimed(id)
  local found = {id}
  for _, value in ipairs(redis.call('HMGET', job(id), unpack(wanted))) do found[#found + 1] = value or '' end
  return found
end

-- A suspect is waited for by one busy worker, until that is empty; the others pass it by, and take what comes after.
local function passed_by(id, suspect, free)
  if not suspect or free then return false end
  local awaited = redis.call('HMGET', job(id), 'awaited_by', 'awaited_till')
  if awaited[1] and awaited[1] ~= worker and now < tonumber(awaited[2]) then return true end
  redis.call('HSET', job(id), 'awaited_by', worker, 'awaited_till', stamp(now + AWAITED_MS))
  return false
end

local function best(free)
  local from = 0
  while true do
    local ids = redis.call('ZRANGE', key('queued'), from, from + 49)
    if #ids == 0 then return nil end
    for _, id in ipairs(ids) do
      local seen = redis.call('HMGET', job(id), 'v', 'expires', 'suspect')
      local known = tonumber(seen[1] or 1) <= VERSION and now < tonumber(seen[2])
      if known and not passed_by(id, seen[3], free) then return id end
    end
    from = from + 50
  end
end

local beats = redis.call('EXISTS', key('worker:' .. worker))
if beats == 1 then
  redis.call('HSET', key('worker:' .. worker), 'asked', stamp(now))
end
local beside, watched = redis.call('SMEMBERS', mine), false
for _, other in ipairs(beside) do
  local seen = redis.call('HMGET', job(other), 'claim', 'suspect')
  if seen[1] == ARGV[8] then return claimed(other) end  -- the answer to this call was lost, and it came again
  watched = watched or seen[2]
end
local free = ARGV[7] == '1' and #beside == 0
local id = best(free)
if not id then return nil end
local seen = redis.call('HMGET', job(id), 'pixels', 'suspect')
local room = ARGV[7] == '1' or tonumber(seen[1]) <= tonumber(ARGV[6])
if seen[2] then room = free end
if watched or not room then return {seen[1], seen[2] or ''} end

for _, stage in ipairs({'open', 'preprocess', 'infer', 'postprocess', 'save'}) do
  redis.call('HDEL', job(id), 'seconds_' .. stage)
end
if redis.call('ZCARD', key('running')) == 0 then redis.call('HSET', key('sums'), 'mark', stamp(now)) end
leave(id)
redis.call('HDEL', job(id), 'awaited_by', 'awaited_till')
redis.call('HSET', job(id), 'status', 'running', 'stage', 'open', 'worker', worker, 'company', 0,
  'net', ARGV[4], 'net_sha256', ARGV[5], 'claim', ARGV[8], 'beats', beats)
redis.call('SADD', mine, id)
redis.call('PEXPIRE', mine, TOMBSTONE_MS)
hold(id, ARGV[2], ARGV[3])
count(id, 'running')
redis.call('HINCRBY', job(id), 'attempt', 1)
tell(id, 'stage', {name = 'open'})
return claimed(id)
"""
)

HELD = (
    PRELUDE
    + "-- id, attempt -> 1, or 0 where the attempt is stale\nreturn held(ARGV[1], ARGV[2]) and 1 or 0\n"
)

RENEW = (
    ALWAYS
    + """
-- id, attempt, lease, lease per megapixel -> 1, or 0 where the attempt is stale
if not held(ARGV[1], ARGV[2]) then return 0 end
hold(ARGV[1], ARGV[3], ARGV[4])
return 1
"""
)

ADVANCE = (
    ALWAYS
    + """
-- id, attempt, lease, lease per megapixel, ended stage, its seconds, their bucket, next stage
-- -> 1, or 0 where stale
if not held(ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', job(ARGV[1]), 'seconds_' .. ARGV[5], ARGV[6], 'stage', ARGV[8])
hold(ARGV[1], ARGV[3], ARGV[4])
time(ARGV[5], ARGV[6], ARGV[7])
tell(ARGV[1], 'stage', {name = ARGV[8]})
return 1
"""
)

COMPLETE = (
    ALWAYS
    + """
-- id, attempt, seconds of save, their bucket, key, width, height, media type, sha256, bytes, artifacts
-- -> 1, or 0 where stale
local id = ARGV[1]
local seen = redis.call('HMGET', job(id), 'status', 'result_key')
if seen[1] == 'succeeded' and seen[2] == ARGV[5] then return 1 end  -- said again, the answer was lost
if not held(id, ARGV[2]) then return 0 end
redis.call('HSET', job(id), 'seconds_save', ARGV[3], 'result_key', ARGV[5], 'result_width', ARGV[6],
  'result_height', ARGV[7], 'result_media_type', ARGV[8], 'result_sha256', ARGV[9], 'result_bytes', ARGV[10],
  'artifacts', ARGV[11])
time('save', ARGV[3], ARGV[4])
measure(id)
finish(id, 'succeeded')
return 1
"""
)

FAIL = (
    ALWAYS
    + """
-- id, attempt, code, detail -> 1, or 0 where stale
local seen = redis.call('HMGET', job(ARGV[1]), 'status', 'attempt', 'error_code')
if seen[1] == 'failed' and seen[2] == ARGV[2] and seen[3] == ARGV[3] then return 1 end  -- said again
if not held(ARGV[1], ARGV[2]) then return 0 end
measure(ARGV[1])
finish(ARGV[1], 'failed', ARGV[3], ARGV[4])
return 1
"""
)

RETRY = (
    ALWAYS
    + """
-- id, attempt, code, detail, most strikes, strikes to add -> 1: it waits again, 0: it failed, -1: stale
local seen = redis.call('HMGET', job(ARGV[1]), 'status', 'attempt')
if seen[1] == 'queued' and seen[2] == ARGV[2] then return 1 end  -- said again, or reaped: it waits
if seen[1] == 'failed' and seen[2] == ARGV[2] then return 0 end
if not held(ARGV[1], ARGV[2]) then return -1 end
redis.call('HINCRBY', job(ARGV[1]), 'strikes', ARGV[6])
if again(ARGV[1], ARGV[3], ARGV[4], ARGV[5]) then return 1 end
return 0
"""
)

CANCEL = (
    ALWAYS
    + """
-- id -> 1, or 0 where there is nothing to erase. The files are due at once.
local seen = redis.call('HMGET', job(ARGV[1]), 'status', 'expires')
if not seen[1] or seen[1] == 'expired' or seen[1] == 'canceled' then return 0 end
bury(ARGV[1], 'canceled')
redis.call('ZADD', key('due'), stamp(now), ARGV[1])
return 1
"""
)

BEAT = (
    ALWAYS
    + """
-- worker, milliseconds, net, hash of its weights, device, ms since 1970 when it last took a job -> 1
local worker = key('worker:' .. ARGV[1])
redis.call('HSET', worker, 'net', ARGV[3], 'net_sha256', ARGV[4], 'device', ARGV[5], 'took', ARGV[6])
redis.call('HSETNX', worker, 'born', stamp(now))
redis.call('PEXPIRE', worker, ARGV[2])
redis.call('ZREMRANGEBYSCORE', key('workers'), '-inf', stamp(now - ARGV[2]))
redis.call('ZADD', key('workers'), stamp(now), ARGV[1])
return 1
"""
)

STALLED = (
    PRELUDE
    + """
-- milliseconds, milliseconds of a beat -> workers that beat and hold nothing, but have not asked for that long,
-- although there was always something waiting
local since = redis.call('HGET', key('sums'), 'since')
if not since or now - since < tonumber(ARGV[1]) then return {} end
local found = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), stamp(now - ARGV[2]), '+inf')) do
  local seen = redis.call('HMGET', key('worker:' .. name), 'born', 'asked', 'took')
  local last = math.max(seen[1] or 0, seen[2] or 0, math.min(seen[3] or 0, now))
  if seen[1] and now - last >= tonumber(ARGV[1]) and redis.call('SCARD', key('worker:' .. name .. ':jobs')) == 0 then
    found[#found + 1] = name
  end
end
return found
"""
)
