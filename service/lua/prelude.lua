-- What all scripts share. The loader in service/database.py puts this file before each of the others, so that one script is one call:
-- it runs alone in the server and on the server's clock. Times are milliseconds.
--
-- Every key begins with `{autochrome}:`. One server has all of them: the scripts make names of keys from what they read and declare none,
-- and Celery has keys of its own, so that a Redis Cluster cannot serve (see `refuse_cluster`).
--
--   job:ID            hash: the record
--   job:ID:events     stream: what happened to it, the last 64
--   queued            zset: id by its turn: its time of making, for batches an hour later, after a failed attempt from ISOLATED_TURN on
--   batched           zset: of those, the ones whose turn is later than their time of making, by that
--   isolating         zset: worker that empties itself for a job that failed before, or has one, by the time until which that counts
--   isolated          string: there for as long after such an attempt as it took
--   crew              string: how many workers there were at most of late
--   running           zset: id by the end of its lease
--   due               zset: id by the time when its files are to be erased
--   sums              hash: pixels of `queued` and `running`; since: when something began to wait; mark: until when work has been measured
--   reaper, eraser    string: whoever does this now
--   reaping           string: since when leases have been looked at without a gap
--   notified          string: there while queued jobs have just been notified of again
--   notifications     string: how many were sent within three seconds and not answered yet
--   speed:SLOT        hash: pixels done and milliseconds of work in five seconds
--   counters          hash: outcome:STATUS:CODE, stage:NAME:count and :sum (seconds), batch:count and :sum (photos), webhooks:OUTCOME
--   worker:NAME       hash: net, device and threads of a worker, when it began and asked last; gone when it stops beating
--   worker:NAME:jobs  set: ids that this process has claimed and not ended
--   workers           zset: worker by its last beat
--   webhooks          zset: job id by the time of the next try to tell of its end
--   webhooks:MARK     string: for a short time, which ids a call has begun and given up, as JSON
--   webhook:ID        hash: url, event, ended, tries; failure: the last error of ours
--   batch:ID          hash: the record of a batch, for as long as an id answers `410`
--   batch:ID:order    hash: what is asked for; gone when the batch expires, as all below
--   batch:ID:files    list: each file as JSON, in the order in which they came
--   batch:ID:known    set: what files are known by, that none is taken in twice
--   batch:ID:waiting  list: ids of its jobs that wait to be queued: they are `waiting`, and in no set of jobs but `due`
--   batches           zset: batch id by the time when one of its files may be queued
--   batches:erasing   zset: batch id by the time since when its files are to be erased
--   quota:WHO         zset: charges of the last minute, as TOKEN:MEGAPIXELS, by their time
--   changed           channel: ids of jobs to which something happened that is not their end
--   ended             channel: ids of jobs that have ended; apart, as most wait for nothing else

local PREFIX = '{autochrome}:'
local ERASED_RECORD_MS = 7 * 24 * 3600 * 1000  -- how long an id still answers `410` after its job expired
local HEAD_START_MS = 3600 * 1000  -- a job of a batch lets those go first that are made within this time after it
local ISOLATED_TURN = 1e15  -- later than all others
local ISOLATED_MS = 3600 * 1000  -- longer than any attempt
local CREW_MS = 30 * 1000  -- in which a worker that died is started again
local EMPTYING_MS = 5000  -- a worker that empties itself asks each second
local BYTES_A_PIXEL = 64  -- where a record does not say what memory its photo takes
local QUOTA_MS = 60 * 1000
local MOST_EVENTS = 64
local NOTIFICATIONS_MS = 3000  -- after which those that were not answered count as lost
local SLOT_MS, SLOTS = 5000, 12
local LOOK_AT = 50  -- jobs before one whose pixels are added up for its estimate, instead of the average

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function key(name) return PREFIX .. name end
local function job(id) return PREFIX .. 'job:' .. id end
local function batch(id) return PREFIX .. 'batch:' .. id end
local function stamp(milliseconds) return string.format('%d', milliseconds) end
local function sum(of) return tonumber(redis.call('HGET', key('sums'), of) or 0) end
local function increment(counter) redis.call('HINCRBY', key('counters'), counter, 1) end

-- A server that is out of memory refuses a script at its first write, unless that one needs no memory: such a script runs to its end
-- (Redis, Scripting with Lua: "Using EVAL under low memory conditions"). What enters jobs is to be refused; all else begins with this.
local function even_without_memory() redis.call('DEL', key('nothing')) end

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

-- An attempt came to its end: so many pixels were done in the time since another did, or work began.
local function measure(id)
  local slot = key('speed:' .. stamp(math.floor(now / SLOT_MS)))
  local worked = now - (redis.call('HGET', key('sums'), 'mark') or now)
  redis.call('HINCRBY', slot, 'pixels', redis.call('HGET', job(id), 'pixels'))
  redis.call('HINCRBY', slot, 'ms', stamp(math.max(0, worked)))
  redis.call('PEXPIRE', slot, (SLOTS + 2) * SLOT_MS)
  redis.call('HSET', key('sums'), 'mark', stamp(now))
end

-- Notes how long stages took: from this argument on, the name of each and its seconds.
local function note_stages(id, from)
  for at = from, #ARGV, 2 do
    redis.call('HSET', job(id), 'seconds_' .. ARGV[at], ARGV[at + 1])
    increment('stage:' .. ARGV[at] .. ':count')
    redis.call('HINCRBYFLOAT', key('counters'), 'stage:' .. ARGV[at] .. ':sum', ARGV[at + 1])
  end
end

local function emit(id, name, data)
  local stream = job(id) .. ':events'
  redis.call('XADD', stream, 'MAXLEN', MOST_EVENTS, '*', 'name', name, 'data', cjson.encode(data))
  redis.call('PEXPIREAT', stream, stamp(redis.call('HGET', job(id), 'expires') + ERASED_RECORD_MS))
  redis.call('PUBLISH', key((name == 'queued' or name == 'stage') and 'changed' or 'ended'), id)
end

-- Whoever asked for a webhook is to be told how the job ended, and nothing after it was erased.
local function schedule_webhook(id, event, options)
  redis.call('DEL', key('webhook:' .. id))
  redis.call('ZREM', key('webhooks'), id)
  local url = event and options and cjson.decode(options).webhook
  if type(url) ~= 'string' then return end
  redis.call('HSET', key('webhook:' .. id), 'url', url, 'event', event, 'ended', stamp(now), 'tries', 0)
  redis.call('PEXPIRE', key('webhook:' .. id), ERASED_RECORD_MS)  -- should nobody ever deliver it
  redis.call('ZADD', key('webhooks'), stamp(now), id)
end

-- bytes that a worker needs for a job's photo
local function memory(id)
  local seen = redis.call('HMGET', job(id), 'memory', 'pixels')
  return tonumber(seen[1] or 0) > 0 and tonumber(seen[1]) or BYTES_A_PIXEL * seen[2]
end

-- Sets the end of a running job's lease.
local function lease(id, base_ms, per_megapixel_ms)
  local megapixels = redis.call('HGET', job(id), 'pixels') / 1e6
  redis.call('ZADD', key('running'), stamp(now + base_ms + per_megapixel_ms * megapixels), id)
end

-- A new record. The caller gives it its status.
local function make_job(id, expires, ...)
  redis.call('HSET', job(id), 'created', stamp(now), 'expires', expires, 'attempt', 0, 'failures', 0, ...)
  redis.call('ZADD', key('due'), expires, id)
end

-- Whether a job of so many pixels may wait. An empty queue has room for any.
local function has_room(pixels, most_jobs, most_pixels)
  local waiting = redis.call('ZCARD', key('queued'))
  return waiting < tonumber(most_jobs) and (waiting == 0 or sum('queued') + pixels <= tonumber(most_pixels))
end

-- What a photo costs of a quota: its megapixels, rounded up, and never more than all.
local function quota_cost(pixels, most) return math.min(most, math.max(1, math.ceil(pixels / 1e6))) end

-- Takes a photo off a quota of so many megapixels in any minute. A token is charged once.
-- Returns the milliseconds until there is room for it, 0 where it is charged; what is left; the milliseconds until some of what was charged
-- may be spent again; and what the photo costs. Its first write needs memory.
local function charge_quota(who, most, pixels, token)
  local charges, cost = key('quota:' .. who), quota_cost(pixels, most)
  local rows = redis.call('ZRANGEBYSCORE', charges, '(' .. stamp(now - QUOTA_MS), '+inf', 'WITHSCORES')
  local left = most
  for at = 1, #rows, 2 do left = left - string.match(rows[at], '%d+$') end
  local reset = (rows[2] or now) + QUOTA_MS - now
  local charge = token .. ':' .. cost
  if redis.call('ZSCORE', charges, charge) then return 0, left, reset, cost end
  local wait, free = 0, left
  for at = 1, #rows, 2 do
    if free >= cost then break end
    free, wait = free + string.match(rows[at], '%d+$'), rows[at + 1] + QUOTA_MS - now
  end
  if wait > 0 then return wait, left, reset, cost end
  redis.call('ZADD', charges, stamp(now), charge)
  redis.call('ZREMRANGEBYSCORE', charges, '-inf', stamp(now - QUOTA_MS))
  redis.call('PEXPIRE', charges, QUOTA_MS)
  return 0, left - cost, reset, cost
end

local function is_held(id, attempt)
  local seen = redis.call('HMGET', job(id), 'status', 'attempt', 'expires')
  return seen[1] == 'running' and seen[2] == attempt and now < tonumber(seen[3])
end

-- The job waits and runs no more. The caller gives it its next status.
local function leave(id)
  local seen = redis.call('HMGET', job(id), 'status', 'pixels', 'worker', 'isolated')
  local status = seen[1]
  if status ~= 'queued' and status ~= 'running' then return end
  redis.call('ZREM', key(status), id)
  redis.call('ZREM', key('batched'), id)
  redis.call('HINCRBY', key('sums'), status, stamp(-seen[2]))
  if redis.call('ZCARD', key('queued')) == 0 then redis.call('HDEL', key('sums'), 'since') end
  if seen[3] then redis.call('SREM', key('worker:' .. seen[3] .. ':jobs'), id) end
  if seen[4] then
    redis.call('ZREM', key('isolating'), seen[3])
    redis.call('SET', key('isolated'), 1, 'PX', stamp(math.max(1, now - seen[4])))
  end
  redis.call('HDEL', job(id), 'worker', 'stage', 'claim', 'beats', 'isolated')
end

local function enqueue(id)
  local seen = redis.call('HMGET', job(id), 'created', 'batch', 'pixels', 'failures')
  local turn = tonumber(seen[1])
  if seen[2] == '1' then turn = turn + HEAD_START_MS end
  if tonumber(seen[4] or 0) > 0 then turn = turn + ISOLATED_TURN end
  if turn > tonumber(seen[1]) then redis.call('ZADD', key('batched'), seen[1], id) end
  redis.call('HSET', job(id), 'status', 'queued')
  redis.call('ZADD', key('queued'), stamp(turn), id)
  redis.call('HINCRBY', key('sums'), 'queued', seen[3])
  redis.call('HSETNX', key('sums'), 'since', stamp(now))
  local place = redis.call('ZRANK', key('queued'), id) + 1
  emit(id, 'queued', {position = place, eta_s = eta(id, place)})
end

-- Whether a notification of a job that has just been queued is to be sent; if so, it counts as sent. A worker that has ended a job asks for the
-- next one by itself: more notifications than all workers have threads would wake nobody.
local function is_to_be_notified()
  local threads = 0
  for _, name in ipairs(redis.call('ZRANGE', key('workers'), 0, -1)) do
    threads = threads + (redis.call('HGET', key('worker:' .. name), 'threads') or 0)
  end
  if threads > 0 and tonumber(redis.call('GET', key('notifications')) or 0) >= threads then return false end
  if redis.call('INCR', key('notifications')) == 1 then redis.call('PEXPIRE', key('notifications'), NOTIFICATIONS_MS) end
  return true
end

-- An attempt has failed. Where it was alone in its worker, nothing but this photo can have ended it, and its sender's quota is charged once more.
local function note_failure(id)
  redis.call('HINCRBY', job(id), 'failures', 1)
  local seen = redis.call('HMGET', job(id), 'isolated', 'group', 'payer', 'attempt', 'pixels')
  local payer = seen[2] and seen[2] ~= '' and redis.call('HGET', batch(seen[2]) .. ':order', 'payer') or seen[3]
  if not seen[1] or (payer or '') == '' then return end
  local charges = key('quota:' .. payer)
  redis.call('ZADD', charges, stamp(now), id .. '/' .. seen[4] .. ':' .. math.max(1, math.ceil(seen[5] / 1e6)))
  redis.call('PEXPIRE', charges, QUOTA_MS)
end

local function finish(id, status, code, detail)
  leave(id)
  redis.call('HDEL', job(id), 'payer')
  redis.call('HSET', job(id), 'status', status)
  if code then redis.call('HSET', job(id), 'error_code', code, 'error_detail', detail) end
  increment('outcome:' .. status .. ':' .. (code or ''))
  emit(id, status, {code = code})
  schedule_webhook(id, status, redis.call('HGET', job(id), 'options'))
end

-- An attempt is over without a result. Returns whether the job waits again: after so many failed attempts it has failed.
local function requeue(id, code, detail, most)
  if tonumber(redis.call('HGET', job(id), 'failures') or 0) >= tonumber(most) then
    finish(id, 'failed', code, detail)
    return false
  end
  leave(id)
  enqueue(id)
  return true
end

-- Leaves an erased record, which says no more than that there was a job.
local function erase_record(id, status)
  local kept = redis.call('HMGET', job(id), 'created', 'expires', 'secret', 'status', 'options', 'erase_again')
  leave(id)
  redis.call('DEL', job(id))
  redis.call('HSET', job(id), 'status', status, 'created', kept[1], 'expires', kept[2], 'secret', kept[3])
  -- A worker that does not know yet may still write files.
  if kept[4] == 'running' or kept[6] then redis.call('HSET', job(id), 'erase_again', 1) end
  local unfinished = kept[4] == 'queued' or kept[4] == 'running'
  if unfinished then increment('outcome:' .. status .. ':') end
  schedule_webhook(id, unfinished and status, kept[5])
  emit(id, status, {})
  redis.call('XTRIM', job(id) .. ':events', 'MAXLEN', 1)
end

-- Whether a batch takes files in or has them queued; and its status.
local function is_batch_alive(id)
  local seen = redis.call('HMGET', batch(id), 'status', 'expires')
  return seen[1] and seen[1] ~= 'canceled' and now < tonumber(seen[2]), seen[1]
end

