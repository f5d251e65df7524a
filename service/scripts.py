"""The job record's atomic scripts, as Lua for Redis. Each runs alone in the server and on the server's clock.

Every key has the prefix `{autochrome}:`, whose braces keep all of them in one slot of a Redis Cluster.

    job:ID            hash: the record
    queued            zset: id by time of making (ms)
    running           zset: id by the end of its lease (ms)
    due               zset: id by the time when its files are to be erased (ms)
    worker:NAME       hash: net and device of a worker, gone when it stops beating
    worker:NAME:jobs  set: ids that this process has claimed and not ended
    workers           zset: worker by its last beat (ms)
"""

from __future__ import annotations

PREFIX = "{autochrome}:"
TOMBSTONE_MS = 7 * 24 * 3600 * 1000
"""How long an id still answers `410` after its job expired."""

_PRELUDE = (
    f"local prefix = '{PREFIX}'\nlocal TOMBSTONE_MS = {TOMBSTONE_MS}\n"
    + """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function key(name) return prefix .. name end
local function job(id) return prefix .. 'job:' .. id end
local function stamp(milliseconds) return string.format('%d', milliseconds) end

local function hold(id, base_ms, per_megapixel_ms)
  local megapixels = redis.call('HGET', job(id), 'pixels') / 1e6
  redis.call('ZADD', key('running'), stamp(now + base_ms + per_megapixel_ms * megapixels), id)
end

local function held(id, attempt)
  local seen = redis.call('HMGET', job(id), 'status', 'attempt', 'expires')
  return seen[1] == 'running' and seen[2] == attempt and now < tonumber(seen[3])
end

local function leave(id)
  local worker = redis.call('HGET', job(id), 'worker')
  if worker then redis.call('SREM', key('worker:' .. worker .. ':jobs'), id) end
  redis.call('ZREM', key('running'), id)
  redis.call('ZREM', key('queued'), id)
  redis.call('HDEL', job(id), 'worker', 'stage')
end

local function finish(id, status)
  leave(id)
  redis.call('HDEL', job(id), 'suspect', 'company')
  redis.call('HSET', job(id), 'status', status)
end

local function again(id, code, detail, most)
  leave(id)
  if tonumber(redis.call('HGET', job(id), 'strikes')) >= tonumber(most) then
    finish(id, 'failed')
    redis.call('HSET', job(id), 'error_code', code, 'error_detail', detail)
    return false
  end
  redis.call('HSET', job(id), 'status', 'queued')
  redis.call('ZADD', key('queued'), redis.call('HGET', job(id), 'created'), id)
  return true
end

local function bury(id, status)
  local kept = redis.call('HMGET', job(id), 'created', 'expires', 'secret')
  leave(id)
  redis.call('DEL', job(id))
  redis.call('HSET', job(id), 'status', status, 'created', kept[1], 'expires', kept[2], 'secret', kept[3])
end
"""
)

RESERVE = (
    _PRELUDE
    + """
-- id, milliseconds -> 1. Files may now be written: they are erased even if no record ever follows.
return redis.call('ZADD', key('due'), stamp(now + ARGV[2]), ARGV[1])
"""
)

CREATE = (
    _PRELUDE
    + """
-- id, secret hash, options, pixels, milliseconds to keep -> 1, or 0 where the id is taken
local id = ARGV[1]
if redis.call('EXISTS', job(id)) == 1 then return 0 end
local expires = stamp(now + ARGV[5])
redis.call('HSET', job(id), 'status', 'queued', 'created', stamp(now), 'expires', expires, 'secret', ARGV[2],
  'options', ARGV[3], 'pixels', ARGV[4], 'attempt', 0, 'strikes', 0)
redis.call('ZADD', key('queued'), stamp(now), id)
redis.call('ZADD', key('due'), expires, id)
return 1
"""
)

CLAIM = (
    _PRELUDE
    + """
-- id, worker, lease, lease per megapixel, net, hash of its weights -> {attempt, options, pixels} or nil
local id, worker = ARGV[1], ARGV[2]
local seen = redis.call('HMGET', job(id), 'status', 'expires', 'suspect')
if seen[1] ~= 'queued' or now >= tonumber(seen[2]) then return nil end
local mine = key('worker:' .. worker .. ':jobs')
if seen[3] and redis.call('SCARD', mine) > 0 then return nil end
for _, stage in ipairs({'open', 'prepare', 'infer', 'finish', 'save'}) do
  redis.call('HDEL', job(id), 'seconds_' .. stage)
end
redis.call('HSET', job(id), 'status', 'running', 'stage', 'open', 'worker', worker, 'company', 0,
  'net', ARGV[5], 'net_sha256', ARGV[6])
redis.call('ZREM', key('queued'), id)
redis.call('SADD', mine, id)
redis.call('PEXPIRE', mine, TOMBSTONE_MS)
hold(id, ARGV[3], ARGV[4])
local attempt = redis.call('HINCRBY', job(id), 'attempt', 1)
return {attempt, redis.call('HGET', job(id), 'options'), redis.call('HGET', job(id), 'pixels')}
"""
)

RENEW = (
    _PRELUDE
    + """
-- id, attempt, lease, lease per megapixel -> 1, or 0 where the attempt is stale
if not held(ARGV[1], ARGV[2]) then return 0 end
hold(ARGV[1], ARGV[3], ARGV[4])
return 1
"""
)

ADVANCE = (
    _PRELUDE
    + """
-- id, attempt, lease, lease per megapixel, ended stage, its seconds, next stage -> 1, or 0 where stale
if not held(ARGV[1], ARGV[2]) then return 0 end
redis.call('HSET', job(ARGV[1]), 'seconds_' .. ARGV[5], ARGV[6], 'stage', ARGV[7])
hold(ARGV[1], ARGV[3], ARGV[4])
return 1
"""
)

COMPLETE = (
    _PRELUDE
    + """
-- id, attempt, seconds of save, key, width, height, media type, sha256, bytes -> 1, or 0 where stale
local id = ARGV[1]
if not held(id, ARGV[2]) then return 0 end
finish(id, 'succeeded')
redis.call('HSET', job(id), 'seconds_save', ARGV[3], 'result_key', ARGV[4], 'result_width', ARGV[5],
  'result_height', ARGV[6], 'result_media_type', ARGV[7], 'result_sha256', ARGV[8], 'result_bytes', ARGV[9])
return 1
"""
)

FAIL = (
    _PRELUDE
    + """
-- id, attempt, code, detail -> 1, or 0 where stale
if not held(ARGV[1], ARGV[2]) then return 0 end
finish(ARGV[1], 'failed')
redis.call('HSET', job(ARGV[1]), 'error_code', ARGV[3], 'error_detail', ARGV[4])
return 1
"""
)

RETRY = (
    _PRELUDE
    + """
-- id, attempt, code, detail, most strikes, strikes to add -> 1: it waits again, 0: it failed, -1: stale
if not held(ARGV[1], ARGV[2]) then return -1 end
redis.call('HINCRBY', job(ARGV[1]), 'strikes', ARGV[6])
if again(ARGV[1], ARGV[3], ARGV[4], ARGV[5]) then return 1 end
return 0
"""
)

REAP = (
    _PRELUDE
    + """
-- code, detail, most strikes, most ids -> ids that wait again; those of three strikes are failed.
-- A job that shared its process is not blamed: it becomes suspect, which CLAIM gives only to a free worker.
local rung = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('running'), '-inf', stamp(now), 'LIMIT', 0, ARGV[4])) do
  local worker = redis.call('HGET', job(id), 'worker')
  local together = redis.call('SMEMBERS', key('worker:' .. worker .. ':jobs'))
  if #together > 1 then
    for _, other in ipairs(together) do redis.call('HSET', job(other), 'company', 1) end
  end
  if redis.call('HGET', job(id), 'company') == '1' then
    redis.call('HSET', job(id), 'suspect', 1)
  else
    redis.call('HINCRBY', job(id), 'strikes', 1)
  end
  if again(id, ARGV[1], ARGV[2], ARGV[3]) then rung[#rung + 1] = id end
end
return rung
"""
)

STRANDED = (
    _PRELUDE
    + """
-- least age, milliseconds of quiet, most ids -> the oldest ids that wait, or none while it is quiet
local waiting = redis.call('ZRANGEBYSCORE', key('queued'), '-inf', stamp(now - ARGV[1]), 'LIMIT', 0, ARGV[3])
if #waiting == 0 or not redis.call('SET', key('rung'), 1, 'NX', 'PX', ARGV[2]) then return {} end
return waiting
"""
)

CANCEL = (
    _PRELUDE
    + """
-- id -> 1, or 0 where there is nothing to erase. The files are due at once.
local seen = redis.call('HMGET', job(ARGV[1]), 'status', 'expires')
if not seen[1] or seen[1] == 'expired' or seen[1] == 'canceled' then return 0 end
bury(ARGV[1], 'canceled')
redis.call('ZADD', key('due'), stamp(now), ARGV[1])
return 1
"""
)

EXPIRE = (
    _PRELUDE
    + """
-- most ids -> ids whose files are to be erased now; records past their time become tombstones
local due = redis.call('ZRANGEBYSCORE', key('due'), '-inf', stamp(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local expires = redis.call('HGET', job(id), 'expires')
  if expires and now >= tonumber(expires) then
    bury(id, 'expired')
    redis.call('PEXPIRE', job(id), TOMBSTONE_MS)
  end
end
return due
"""
)

ERASED = (
    _PRELUDE
    + """
-- id -> 1. Its files are gone; a canceled job's tombstone is due once more when it expires.
local seen = redis.call('HMGET', job(ARGV[1]), 'status', 'expires')
if seen[1] == 'canceled' and now < tonumber(seen[2]) then
  redis.call('ZADD', key('due'), seen[2], ARGV[1])
else
  redis.call('ZREM', key('due'), ARGV[1])
end
return 1
"""
)

BEAT = (
    _PRELUDE
    + """
-- worker, milliseconds, net, hash of its weights, device -> 1
local worker = key('worker:' .. ARGV[1])
redis.call('HSET', worker, 'net', ARGV[3], 'net_sha256', ARGV[4], 'device', ARGV[5])
redis.call('PEXPIRE', worker, ARGV[2])
redis.call('ZREMRANGEBYSCORE', key('workers'), '-inf', stamp(now - ARGV[2]))
redis.call('ZADD', key('workers'), stamp(now), ARGV[1])
return 1
"""
)
