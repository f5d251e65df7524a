"""The job record's keys in Redis, and the Lua that its scripts share.

Every key has the prefix `{autochrome}:`. One server has all of them: the scripts make names of keys from what they
read and declare none, and Celery has keys of its own, so that a Redis Cluster cannot serve (see `refuse_cluster`).

    job:ID            hash: the record
    job:ID:events     stream: what happened to it, the last 64
    queued            zset: id by its turn (ms): its time of making, for batches an hour later
    batched           zset: of those, the ones of batches by their time of making (ms)
    running           zset: id by the end of its lease (ms)
    due               zset: id by the time when its files are to be erased (ms)
    sums              hash: pixels of `queued` and `running`; since: when something began to wait;
                      mark: until when work has been measured; reaped: when last; calm: when workers that
                      do not beat are dead
    reaper, eraser    string: whoever does this now
    speed:SLOT        hash: pixels done and milliseconds of work in five seconds
    counters          hash: see service/metrics.py
    worker:NAME       hash: net and device of a worker, when it began and asked last; gone when it stops beating
    worker:NAME:jobs  set: ids that this process has claimed and not ended
    workers           zset: worker by its last beat (ms)
    webhooks          zset: id by the time of the next try to tell of its end (ms)
    webhook:ID        hash: what is to be told, see service/webhooks.py
    changed           channel: ids of jobs to which something happened that is not their end
    ended             channel: ids of jobs that have ended; apart, as most wait for nothing else

A server that is out of memory refuses a script at its first write, unless that one needs no memory: such a
script runs to its end (Redis, Scripting with Lua: "Using EVAL under low memory conditions"). What enters jobs
is to be refused; all else is built upon `ALWAYS`, whose first write deletes nothing.
"""

from __future__ import annotations

VERSION = 3
"""Of the record. Version 1 had no `v`, no sums and no events; before version 3 every photo lay at `{id}/photo`."""
PREFIX = "{autochrome}:"
TOMBSTONE_MS = 7 * 24 * 3600 * 1000
"""How long an id still answers `410` after its job expired."""
HEAD_START_MS = 3600 * 1000
"""A job of a batch lets those go first that are made within this time after it."""
AWAITED_MS = 15 * 1000
"""How long a suspect is left to the busy worker that waits to be empty for it and asks again and again."""
MOST_EVENTS = 64

PRELUDE = (
    f"local prefix, VERSION, TOMBSTONE_MS = '{PREFIX}', {VERSION}, {TOMBSTONE_MS}\n"
    + f"local HEAD_START_MS, MOST_EVENTS, AWAITED_MS = {HEAD_START_MS}, {MOST_EVENTS}, {AWAITED_MS}\n"
    + """
local SLOT_MS, SLOTS, LOOK_AT = 5000, 12, 50
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function key(name) return prefix .. name end
local function job(id) return prefix .. 'job:' .. id end
local function stamp(milliseconds) return string.format('%d', milliseconds) end
local function sum(of) return tonumber(redis.call('HGET', key('sums'), of) or 0) end

-- pixels per millisecond of work, or nil where none was done in the last minute
local function speed()
  local pixels, milliseconds = 0, 0
  for back = 0, SLOTS do
    local slot = redis.call('HMGET', key('speed:' .. stamp(math.floor(now / SLOT_MS) - back)), 'pixels', 'ms')
    pixels, milliseconds = pixels + (slot[1] or 0), milliseconds + (slot[2] or 0)
  end
  if pixels == 0 then return nil end
  return pixels / math.max(milliseconds, 1)
end

-- seconds until a job that waits in this place is done, itself and all that runs included, or nil
local function eta(id, place)
  local pace = speed()
  if not pace then return nil end
  local pixels = sum('running') + redis.call('HGET', job(id), 'pixels')
  if place > 1 then
    for _, other in ipairs(redis.call('ZRANGE', key('queued'), 0, math.min(place - 1, LOOK_AT) - 1)) do
      pixels = pixels + (redis.call('HGET', job(other), 'pixels') or 0)
    end
  end
  local rest = math.max(0, place - 1 - LOOK_AT)  -- these as large as all are on average
  if rest > 0 then pixels = pixels + rest * sum('queued') / redis.call('ZCARD', key('queued')) end
  return math.ceil(pixels / pace / 100) / 10
end

local function tell(id, name, data)
  local stream = job(id) .. ':events'
  redis.call('XADD', stream, 'MAXLEN', MOST_EVENTS, '*', 'name', name, 'data', cjson.encode(data))
  redis.call('PEXPIREAT', stream, stamp(redis.call('HGET', job(id), 'expires') + TOMBSTONE_MS))
  redis.call('PUBLISH', key((name == 'queued' or name == 'stage') and 'changed' or 'ended'), id)
end

local function tally(field) redis.call('HINCRBY', key('counters'), field, 1) end

local function time(stage, seconds, bucket)
  tally('stage:' .. stage .. ':le:' .. bucket)
  redis.call('HINCRBYFLOAT', key('counters'), 'stage:' .. stage .. ':sum', seconds)
end

-- The record knows in which sum it is, so that one which an older worker has moved is still taken out once.
local function count(id, where)
  local seen = redis.call('HMGET', job(id), 'counted', 'pixels')
  if seen[1] then
    redis.call('HINCRBY', key('sums'), seen[1], stamp(-seen[2]))
    if redis.call('ZCARD', key(seen[1])) == 0 then redis.call('HDEL', key('sums'), seen[1]) end
  end
  if redis.call('ZCARD', key('queued')) == 0 then
    redis.call('HDEL', key('sums'), 'since')
  else
    redis.call('HSETNX', key('sums'), 'since', stamp(now))
  end
  if not where then return redis.call('HDEL', job(id), 'counted') end
  redis.call('HINCRBY', key('sums'), where, seen[2])
  redis.call('HSET', job(id), 'counted', where)
end

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
  for _, set in ipairs({'running', 'queued', 'batched'}) do redis.call('ZREM', key(set), id) end
  redis.call('HDEL', job(id), 'worker', 'stage', 'claim', 'beats')
  count(id, nil)
end

local function line_up(id)
  local seen = redis.call('HMGET', job(id), 'created', 'batch')
  local turn = tonumber(seen[1])
  if seen[2] == '1' then
    redis.call('ZADD', key('batched'), seen[1], id)
    turn = turn + HEAD_START_MS
  end
  redis.call('HSET', job(id), 'status', 'queued')
  redis.call('ZADD', key('queued'), stamp(turn), id)
  count(id, 'queued')
  local place = redis.call('ZRANK', key('queued'), id) + 1
  tell(id, 'queued', {position = place, eta_s = eta(id, place)})
end

-- Whoever asked for a webhook is to be told how the job ended, and nothing after it was erased.
local function notify(id, event, options)
  redis.call('DEL', key('webhook:' .. id))
  redis.call('ZREM', key('webhooks'), id)
  local url = event and options and cjson.decode(options).webhook
  if type(url) ~= 'string' then return end
  redis.call('HSET', key('webhook:' .. id), 'url', url, 'event', event, 'ended', stamp(now), 'tries', 0)
  redis.call('PEXPIRE', key('webhook:' .. id), TOMBSTONE_MS)  -- should nobody ever deliver it
  redis.call('ZADD', key('webhooks'), stamp(now), id)
end

local function finish(id, status, code, detail)
  leave(id)
  redis.call('HDEL', job(id), 'suspect', 'company')
  redis.call('HSET', job(id), 'status', status)
  if code then redis.call('HSET', job(id), 'error_code', code, 'error_detail', detail) end
  tally('outcome:' .. status .. ':' .. (code or ''))
  tell(id, status, {code = code})
  notify(id, status, redis.call('HGET', job(id), 'options'))
end

-- An attempt came to its end: so many pixels were done in the time since another did, or work began.
local function measure(id)
  local slot = key('speed:' .. stamp(math.floor(now / SLOT_MS)))
  local worked = now - (redis.call('HGET', key('sums'), 'mark') or now)
  redis.call('HINCRBY', slot, 'pixels', redis.call('HGET', job(id), 'pixels'))
  redis.call('HINCRBY', slot, 'ms', stamp(math.max(0, worked)))
  redis.call('PEXPIRE', slot, (SLOTS + 2) * SLOT_MS)
  redis.call('HSET', key('sums'), 'mark', stamp(now))
end

local function again(id, code, detail, most)
  leave(id)
  if tonumber(redis.call('HGET', job(id), 'strikes')) >= tonumber(most) then
    finish(id, 'failed', code, detail)
    return false
  end
  line_up(id)
  return true
end

local function bury(id, status)
  local kept = redis.call('HMGET', job(id), 'created', 'expires', 'secret', 'status', 'options', 'again')
  leave(id)
  redis.call('DEL', job(id))
  redis.call('HSET', job(id), 'v', VERSION, 'status', status, 'created', kept[1], 'expires', kept[2],
    'secret', kept[3])
  -- A worker that does not know yet may still write files.
  if kept[4] == 'running' or kept[6] then redis.call('HSET', job(id), 'again', 1) end
  local unfinished = kept[4] == 'queued' or kept[4] == 'running'
  if unfinished then tally('outcome:' .. status .. ':') end
  notify(id, unfinished and status, kept[5])
  tell(id, status, {})
  redis.call('XTRIM', job(id) .. ':events', 'MAXLEN', 1)
end
"""
)

ALWAYS = PRELUDE + "redis.call('DEL', key('nothing'))\n"
