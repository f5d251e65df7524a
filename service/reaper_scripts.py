"""What the reaper does to job records, as atomic Lua. Each script runs alone in the server and on its clock."""

from __future__ import annotations

from service.prelude import ALWAYS

REAP = (
    ALWAYS
    + """
-- code, detail, most strikes, most ids, milliseconds of calm -> ids that wait again; those of three strikes are
-- failed. Taken are jobs whose lease ran out, and those of workers that beat when they took them and do no more;
-- but not of these when nobody has reaped for a while: all were cut off then, and shall beat again first.
-- A job that shared its process is not blamed: it becomes suspect, which CLAIM gives only to a free worker.
local before = redis.call('HGET', key('sums'), 'reaped')
if not before or now - before > tonumber(ARGV[5]) then redis.call('HSET', key('sums'), 'calm', stamp(now + ARGV[5])) end
redis.call('HSET', key('sums'), 'reaped', stamp(now))
local calm = now >= tonumber(redis.call('HGET', key('sums'), 'calm'))

local lost = {}
local running = redis.call('ZRANGE', key('running'), 0, -1, 'WITHSCORES')
for at = 1, #running, 2 do
  local id, silent = running[at], tonumber(running[at + 1]) <= now
  if not silent and calm then
    local seen = redis.call('HMGET', job(id), 'worker', 'beats')
    silent = seen[2] == '1' and redis.call('EXISTS', key('worker:' .. seen[1])) == 0
  end
  if silent and #lost < tonumber(ARGV[4]) then lost[#lost + 1] = id end
end

local rung = {}
for _, id in ipairs(lost) do
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
    ALWAYS
    + """
-- least age, milliseconds of quiet, most ids -> the oldest ids that wait, or none while it is quiet
local waiting, seen = {}, {}
for _, set in ipairs({'queued', 'batched'}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key(set), '-inf', stamp(now - ARGV[1]), 'LIMIT', 0, ARGV[3])) do
    if not seen[id] and #waiting < tonumber(ARGV[3]) then waiting[#waiting + 1] = id end
    seen[id] = true
  end
end
if #waiting == 0 or not redis.call('SET', key('rung'), 1, 'NX', 'PX', ARGV[2]) then return {} end
return waiting
"""
)

EXPIRE = (
    ALWAYS
    + """
-- most ids -> ids whose files are to be erased now; records past their time become tombstones
local due = redis.call('ZRANGEBYSCORE', key('due'), '-inf', stamp(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local seen = redis.call('HMGET', job(id), 'expires', 'status')
  if seen[1] and seen[2] ~= 'expired' and now >= tonumber(seen[1]) then
    bury(id, 'expired')
    redis.call('PEXPIRE', job(id), TOMBSTONE_MS)
  end
end
return due
"""
)

ERASED = (
    ALWAYS
    + """
-- id, milliseconds -> 1. Its files are gone; a canceled job's tombstone is due once more when it expires, one that
-- expired in a worker's hands when that cannot write any more. What lives, or is promised anew, stays due.
local due = redis.call('ZSCORE', key('due'), ARGV[1])
local seen = redis.call('HMGET', job(ARGV[1]), 'status', 'expires', 'again')
local dead = not seen[1] or seen[1] == 'expired'
if seen[1] == 'canceled' and now < tonumber(seen[2]) then
  redis.call('ZADD', key('due'), seen[2], ARGV[1])
elseif dead and seen[3] then
  redis.call('HDEL', job(ARGV[1]), 'again')
  redis.call('ZADD', key('due'), stamp(now + ARGV[2]), ARGV[1])
elseif dead and due and tonumber(due) <= now then
  redis.call('ZREM', key('due'), ARGV[1])
end
return 1
"""
)

POSTPONE = (
    ALWAYS
    + """
-- id, milliseconds -> 1. Its files could not be erased: others go first.
local due = redis.call('ZSCORE', key('due'), ARGV[1])
if due and tonumber(due) <= now then redis.call('ZADD', key('due'), stamp(now + ARGV[2]), ARGV[1]) end
return 1
"""
)

LOCK = (
    ALWAYS
    + "-- name, token, milliseconds -> whether this lock is now one's own\n"
    + """
return redis.call('SET', key(ARGV[1]), ARGV[2], 'NX', 'PX', ARGV[3]) and 1 or 0
"""
)

UNLOCK = (
    ALWAYS
    + "-- name, token -> 1. The lock may have run out meanwhile, and be another's by now.\n"
    + """
if redis.call('GET', key(ARGV[1])) == ARGV[2] then redis.call('DEL', key(ARGV[1])) end
return 1
"""
)
