-- What all scripts share. The loader in service/database.py puts this file before each of the others, so that one script is one call:
-- it runs alone in the server and on the server's clock. Times are milliseconds.
--
-- Every key begins with `{autochrome}:`. One server has all of them: the scripts make names of keys from what they read and declare none,
-- and Celery has keys of its own, so that a Redis Cluster cannot serve (see `refuse_cluster`).
--
--   job:ID            hash: the record; a value of more than 64 bytes is in pieces, NAME, NAME:1 and so on (see `set_fields`)
--   revisions:ID      set: ids of the jobs that color this one's photo anew, which are erased with it; empty when
--                     all are erased. Without a time of its own, which a clock that jumps would bring about too early
--   queued            zset: id by its turn: its time of making, for batches an hour later, after a failed attempt from ISOLATED_TURN on
--   batched           zset: of those, the ones whose turn is later than their time of making, by that
--   isolating         zset: worker that empties itself for a job that failed before, or has one, by the time until which that counts
--   isolated          string: there for as long after such an attempt as it took
--   crew              string: how many workers there were at most of late
--   running           zset: id by the end of its lease
--   due               zset: id by the time when its files are to be erased
--   sums              hash: pixels of `queued` and `running`; since: when something began to wait; mark: until when work has been measured;
--                     store, room: bytes of `stored` and `room`; erased, rewritten: when a record was last erased, and the log rewritten
--   stored            hash: bytes of the store by id: its photo, and its results or the room that is kept for them
--   room              hash: of these, bytes that are kept for results which are not written yet
--   payers            hash: whose budget these bytes are taken from, by id; only where there is a limit, as the two below
--   held              hash: bytes of the store by who pays for them
--   reserved:MARK     string: for a short time, that a call has taken its bytes
--   made:MARK         string: for a short time, that a call has made its job
--   records:WHO       hash: bytes of records by the hour, since 1970, until which they are kept
--   clock             hash: shift: milliseconds by which the server's clock has jumped in all; by and at: the last jump, and when
--   reaper, eraser    string: whoever does this now
--   reaping           string: since when leases have been looked at without a gap
--   notified          string: there while queued jobs have just been notified of again
--   notifications     string: how many were sent within three seconds and not answered yet
--   speed:SLOT        hash: pixels done and milliseconds of work in five seconds
--   counters          hash: outcome:STATUS:CODE, stage:NAME:count and :sum (seconds), batch:count and :sum (photos), webhooks:OUTCOME,
--                     leases:expired
--   worker:NAME       hash: net, device and threads of a worker, when it began and asked last; gone when it stops beating
--   worker:NAME:jobs  set: ids that this process has claimed and not ended
--   workers           zset: worker by its last beat
--   webhooks          zset: job id by the time of the next try to tell of its end
--   webhooks:MARK     string: for a short time, which ids a call has begun and given up, as JSON
--   webhook:ID        hash: url, event, ended, tries; failure: the last error of ours
--   batch:ID          hash: the record of a batch, for as long as an id answers `410`
--   batch:ID:order    hash: what is asked for; erased when the batch expires, as all below
--   batch:ID:files    list: each file as JSON, in the order in which they came
--   batch:ID:known    set: what files are known by, that none is taken in twice
--   batch:ID:waiting  list: ids of its jobs that wait to be queued: they are `waiting`, and in no set of jobs but `due`
--   batches           zset: batch id by the time when one of its files may be queued
--   batches:due       zset: batch id by the time when it expires
--   batches:erasing   zset: batch id by the time since when its files are to be erased
--   place:ID          string: OWNER:BYTES of a photo that its sender is to write to the store; gone when its time is up
--   place:ID:used     string: there while a job is made of it
--   swept             string: there while the store has just been looked through
--   quota:WHO         zset: charges of the last minute, as TOKEN:MEGAPIXELS, by their time
--   key               string: from which secrets and ids are made that nobody brought (see `mac` in jobs.py)
--   keys, keys:used   hash: API keys, and when each was used last (see auth.py)
--   realism:games     zset: games of real or fake by their end, of which there is room for so many
--   realism:answered  hash: which rounds of a game were answered, a bit each
--   realism:players   hash: rounds that count, by a hash of whoever pays for them; for a day
--   realism:nets      hash: name of each net that was judged, by its hash
--   realism:net:SHA   hash: PAIR:ROUNDS:shown and PAIR:ROUNDS:fooled: answers to a pair in games of so many rounds, and wrong ones
--   confirming        string: what was last waited for until replicas have it, see `is_confirmed` in service/database.py
--   changed           channel: ids of jobs to which something happened that is not their end
--   ended             channel: ids of jobs that have ended; apart, as most wait for nothing else

local PREFIX = '{autochrome}:'
local ERASED_RECORD_MS = 7 * 24 * 3600 * 1000  -- how long an id still answers `410` after its job expired
local HEAD_START_MS = 3600 * 1000  -- a job of a batch lets those go first that are made within this time after it
local ISOLATED_TURN = 1e15  -- later than all others
local QUOTA_MS = 60 * 1000
local HOUR_MS = 3600 * 1000
local MARK_MS = 60 * 1000  -- in which a call whose answer was lost may come again
local RECORD_BYTES, ERASED_RECORD_BYTES = 1200, 400  -- of a job without options, with its places in sets: about what a test measures
local BYTES_IN_PIECES = 1.25  -- that a byte of a long value takes (see `set_fields`)
local ENTRY_BYTES = 150  -- of a file of a batch, beside its name and what is said of it
local MOST_IN_FIELD = 64  -- bytes; the default of hash-max-listpack-value
local NOTIFICATIONS_MS = 3000  -- after which those that were not answered count as lost
local SLOT_MS, SLOTS = 5000, 12

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

-- An id holds so many bytes of the store more, or less.
local function count_store(id, bytes)
  redis.call('HINCRBY', key('stored'), id, stamp(bytes))
  redis.call('HINCRBY', key('sums'), 'store', stamp(bytes))
  local payer = redis.call('HGET', key('payers'), id)
  if payer and redis.call('HINCRBY', key('held'), payer, stamp(bytes)) <= 0 then redis.call('HDEL', key('held'), payer) end
end

-- Gives room that an id has for results back, all of it or less; what was written instead counts.
local function settle_store(id, written, most)
  local room = tonumber(redis.call('HGET', key('room'), id) or 0)
  if room == 0 and written == 0 then return end
  local left = math.max(0, room - (most or room))
  if left == 0 then redis.call('HDEL', key('room'), id) else redis.call('HSET', key('room'), id, stamp(left)) end
  redis.call('HINCRBY', key('sums'), 'room', stamp(left - room))
  count_store(id, written + left - room)
end

-- No file of an id is left.
local function drop_store(id)
  count_store(id, -(redis.call('HGET', key('stored'), id) or 0))
  redis.call('HINCRBY', key('sums'), 'room', stamp(-(redis.call('HGET', key('room'), id) or 0)))
  for _, of in ipairs({'stored', 'room', 'payers'}) do redis.call('HDEL', key(of), id) end
end

local function hour_of(time) return stamp(math.ceil(time / HOUR_MS)) end

-- Takes bytes of records from what their sender may hold: those kept until some time, and those left for a week more of what is erased then.
-- False where there are not so many left, and nothing is taken; most 0: no limit.
local function take_records(payer, most, expires, bytes, erased)
  if most == 0 then return true end
  local name, held, past = key('records:' .. payer), bytes + erased, {}
  local seen = redis.call('HGETALL', name)
  for at = 1, #seen, 2 do
    if seen[at] * HOUR_MS > now then held = held + seen[at + 1] else past[#past + 1] = seen[at] end
  end
  if held > most then return false end
  redis.call('HINCRBY', name, hour_of(expires), stamp(bytes))
  redis.call('HINCRBY', name, hour_of(expires + ERASED_RECORD_MS), stamp(erased))
  if #past > 0 then redis.call('HDEL', name, unpack(past)) end
  local ends = hour_of(expires + ERASED_RECORD_MS) * HOUR_MS
  if redis.call('PTTL', name) < ends - now then redis.call('PEXPIREAT', name, stamp(ends)) end
  return true
end

-- A job's record has so many bytes more, or less, which are counted where its sender's are, until the hour in which it expires.
local function count_record(id, bytes)
  local payer, hour = redis.call('HGET', key('payers'), id), hour_of(redis.call('HGET', job(id), 'expires'))
  if not payer or redis.call('HEXISTS', key('records:' .. payer), hour) == 0 then return end
  redis.call('HINCRBY', key('records:' .. payer), hour, stamp(bytes))
  redis.call('HINCRBY', job(id), 'extra', stamp(bytes))
end

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
    redis.call('HSET', job(id), 's_' .. ARGV[at], ARGV[at + 1])
    increment('stage:' .. ARGV[at] .. ':count')
    redis.call('HINCRBYFLOAT', key('counters'), 'stage:' .. ARGV[at] .. ':sum', ARGV[at + 1])
  end
end

-- Sets fields of a record: names and values in turns. A hash with one value of more than 64 bytes is no listpack any more, and takes three times
-- the memory, so that a longer one is kept in pieces. Such a field is written once.
local function set_fields(id, ...)
  local words, flat = {...}, {}
  for at = 1, #words, 2 do
    local value = tostring(words[at + 1])
    for piece = 0, math.max(0, math.ceil(#value / MOST_IN_FIELD) - 1) do
      flat[#flat + 1] = piece == 0 and words[at] or words[at] .. ':' .. piece
      flat[#flat + 1] = string.sub(value, MOST_IN_FIELD * piece + 1, MOST_IN_FIELD * (piece + 1))
    end
  end
  redis.call('HSET', job(id), unpack(flat))
end

-- A field's value, all its pieces; false where there is none.
local function get_field(id, name)
  local value = redis.call('HGET', job(id), name)
  local piece = value
  local number = 0
  while piece and #piece == MOST_IN_FIELD do
    number = number + 1
    piece = redis.call('HGET', job(id), name .. ':' .. number)
    value = value .. (piece or '')
  end
  return value
end

-- A record's fields and values in turns, each value whole.
local function get_fields(id)
  local seen, flat = redis.call('HGETALL', job(id)), {}
  for at = 1, #seen, 2 do
    if not string.find(seen[at], ':', 1, true) then
      flat[#flat + 1] = seen[at]
      flat[#flat + 1] = #seen[at + 1] == MOST_IN_FIELD and get_field(id, seen[at]) or seen[at + 1]
    end
  end
  return flat
end

-- Says that something has happened to a job. What it was follows from the record (`events_of` in models.py).
local function publish(id, is_end) redis.call('PUBLISH', key(is_end and 'ended' or 'changed'), id) end

-- Whoever asked for a webhook is to be told how the job ended, and nothing after it was erased.
local function schedule_webhook(id, event, options)  -- the options as JSON
  redis.call('DEL', key('webhook:' .. id))
  redis.call('ZREM', key('webhooks'), id)
  local url = event and options and cjson.decode(options).webhook
  if type(url) ~= 'string' then return end
  redis.call('HSET', key('webhook:' .. id), 'url', url, 'event', event, 'ended', stamp(now), 'tries', 0)
  redis.call('PEXPIRE', key('webhook:' .. id), ERASED_RECORD_MS)  -- should nobody ever deliver it
  redis.call('ZADD', key('webhooks'), stamp(now), id)
end

-- Sets the end of a running job's lease.
local function lease(id, base_ms, per_megapixel_ms)
  local megapixels = redis.call('HGET', job(id), 'pixels') / 1e6
  redis.call('ZADD', key('running'), stamp(now + base_ms + per_megapixel_ms * megapixels), id)
end

-- A new record. The caller gives it its status. `extra`: bytes that it takes beside RECORD_BYTES.
local function make_job(id, expires, extra, ...)
  set_fields(id, 'created', stamp(now), 'expires', expires, 'attempt', 0, 'failures', 0, ...)
  if extra > 0 then redis.call('HSET', job(id), 'extra', stamp(extra)) end
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
  local rows = redis.call('ZRANGEBYSCORE', charges, '(' .. stamp(now - QUOTA_MS), stamp(now), 'WITHSCORES')
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
  publish(id, false)
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
  redis.call('ZADD', charges, stamp(now), id .. '/' .. seen[4] .. ':' .. quota_cost(seen[5], math.huge))
  redis.call('PEXPIRE', charges, QUOTA_MS)
end

-- What an ended record keeps no longer: only work needs it. It is written anew, as fields that go leave a hash as large as it was.
local ONLY_OF_WORK = {pixels = true, weight = true, batch = true, failures = true, request_id = true, memory = true, payer = true}

local function compact(id)
  local seen, kept = get_fields(id), {}
  for at = 1, #seen, 2 do
    local name, value = seen[at], seen[at + 1]
    if name == 'options' and string.find(value, '"webhook"', 1, true) then
      local options = cjson.decode(value)
      options.webhook = nil  -- the delivery has it
      for option, list in pairs(options) do  -- an earlier version kept empty lists, which cjson would write as {}
        if type(list) == 'table' and not next(list) then options[option] = nil end
      end
      value = next(options) and cjson.encode(options) or '{}'
    end
    if not ONLY_OF_WORK[name] and value ~= '' and value ~= '{}' then
      kept[#kept + 1] = name
      kept[#kept + 1] = value
    end
  end
  redis.call('DEL', job(id))
  set_fields(id, unpack(kept))
end

local function finish(id, status, code, detail)
  leave(id)
  schedule_webhook(id, status, get_field(id, 'options'))
  set_fields(id, 'status', status)
  if code then set_fields(id, 'error_code', code, 'error_detail', detail) end
  compact(id)
  increment('outcome:' .. status .. ':' .. (code or ''))
  settle_store(id, 0)  -- `complete` has said what was written
  publish(id, true)
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
  local kept = redis.call('HMGET', job(id), 'created', 'expires', 'secret', 'status', 'erase_again', 'revises', 'extra')
  local options = get_field(id, 'options')
  leave(id)
  if kept[4] ~= 'canceled' then count_record(id, -RECORD_BYTES - (kept[7] or 0)) end  -- of a canceled one it was done
  redis.call('DEL', job(id))
  redis.call('HSET', job(id), 'status', status, 'created', kept[1], 'expires', kept[2], 'secret', kept[3])
  -- A worker that does not know yet may still write files.
  if kept[4] == 'running' or kept[5] then redis.call('HSET', job(id), 'erase_again', 1) end
  redis.call('HSET', key('sums'), 'erased', stamp(now))
  local unfinished = kept[4] == 'queued' or kept[4] == 'running'
  if unfinished then increment('outcome:' .. status .. ':') end
  schedule_webhook(id, unfinished and status, options)
  if kept[6] then redis.call('SREM', key('revisions:' .. kept[6]), id) end
  publish(id, true)
end

-- Leaves erased records of a job and of those that color its photo anew, whose files are due at once. Returns the ids of all.
local function erase_with_revisions(id, status)
  local erased = redis.call('SMEMBERS', key('revisions:' .. id))
  for _, revision in ipairs(erased) do
    erase_record(revision, status)
    redis.call('ZADD', key('due'), stamp(now), revision)
  end
  erase_record(id, status)
  erased[#erased + 1] = id
  return erased
end

-- Whether a batch takes files in or has them queued; and its status.
local function is_batch_alive(id)
  local seen = redis.call('HMGET', batch(id), 'status', 'expires')
  return seen[1] and seen[1] ~= 'canceled' and now < tonumber(seen[2]), seen[1]
end

-- Nothing more of a batch is taken in or queued. The list of its files stays.
local function close_batch(id)
  for _, part in ipairs({':waiting', ':order', ':known'}) do redis.call('DEL', batch(id) .. part) end
  redis.call('ZREM', key('batches'), id)
  redis.call('ZREM', key('batches:due'), id)
  redis.call('HSET', key('sums'), 'erased', stamp(now))
end

