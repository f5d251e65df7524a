"""A batch's verbs as atomic Lua. Each runs alone in the server and on the server's clock.

batch:ID          hash: the record, for as long as an id answers `410`
batch:ID:order    hash: what is asked for; gone when the batch expires, as all below
batch:ID:files    list: each file as JSON, in the order in which they came
batch:ID:known    set: what files are known by, that none is taken in twice
batch:ID:waiting  zset: places in the list of those that wait to be queued
batch:ID:charged  set: places of those that wait and have been taken off their sender's quota
batches           zset: id by the time when one of its files may be queued (ms)
batches:erasing   zset: id by the time since when its files are to be erased (ms)
"""

from __future__ import annotations

from service.prelude import ALWAYS, PRELUDE

GONE, COMPLETE, FULL = -1, -2, -3
"""Why ADD adds nothing."""
EXPIRED, CANCELED, ANOTHER, NO_ROOM, UNPROVEN = -1, -2, -3, -4, -5
"""Why OPEN opens nothing."""

_BATCH = """
local function batch(id) return prefix .. 'batch:' .. id end
local function lives(id)
  local seen = redis.call('HMGET', batch(id), 'status', 'expires')
  return seen[1] and seen[1] ~= 'canceled' and now < tonumber(seen[2]), seen[1]
end
"""

OPEN = (
    PRELUDE
    + _BATCH
    + """
-- id, milliseconds to keep, fingerprint, owner, address, request id, options, most files that may wait for a new
-- batch to be begun, hash of the secret that the sender says it has or '', hash of the one that it gets otherwise
-- -> time of expiry, or -1 expired, -2 canceled, -3 it is another one, -4 too many wait, -5 no key made it, and the
-- sender does not know its secret
local id = ARGV[1]
local seen = redis.call('HMGET', batch(id), 'status', 'expires', 'fingerprint', 'owner', 'secret')
if seen[1] then
  if now >= tonumber(seen[2]) then return -1 end
  if seen[1] == 'canceled' then return -2 end
  if seen[4] == '' and ARGV[4] == '' and (seen[5] or ARGV[10]) ~= ARGV[9] then return -5 end
  if seen[3] ~= ARGV[3] then return -3 end
  return tonumber(seen[2])
end
local waiting = 0
for _, other in ipairs(redis.call('ZRANGE', key('batches'), 0, -1)) do
  waiting = waiting + redis.call('ZCARD', batch(other) .. ':waiting')
end
if waiting >= tonumber(ARGV[8]) then return -4 end
local expires = now + ARGV[2]
redis.call('HSET', batch(id), 'v', VERSION, 'status', 'receiving', 'created', stamp(now), 'expires', stamp(expires),
  'fingerprint', ARGV[3], 'owner', ARGV[4], 'secret', ARGV[9] ~= '' and ARGV[9] or ARGV[10])
redis.call('PEXPIREAT', batch(id), stamp(expires + TOMBSTONE_MS))
redis.call('HSET', batch(id) .. ':order', 'address', ARGV[5], 'request_id', ARGV[6], 'options', ARGV[7])
redis.call('PEXPIREAT', batch(id) .. ':order', stamp(expires))
return expires
"""
)

ADD = (
    PRELUDE
    + _BATCH
    + """
-- id, what the file is known by, most files, file or '' to ask only, 1 where it is to wait
-- -> 1: added (or may be), 0: it is known, -1: the batch is gone, -2: it is complete, -3: it is full
local id, file = ARGV[1], ARGV[4]
local alive, status = lives(id)
if not alive then return -1 end
if redis.call('SISMEMBER', batch(id) .. ':known', ARGV[2]) == 1 then return 0 end
if status == 'complete' then return -2 end
if redis.call('LLEN', batch(id) .. ':files') >= tonumber(ARGV[3]) then return -3 end
if file == '' then return 1 end
local expires = redis.call('HGET', batch(id), 'expires')
redis.call('SADD', batch(id) .. ':known', ARGV[2])
local place = redis.call('RPUSH', batch(id) .. ':files', file) - 1
if ARGV[5] == '1' then
  redis.call('ZADD', batch(id) .. ':waiting', place, place)
  redis.call('ZADD', key('batches'), 'NX', stamp(now), id)
end
for _, part in ipairs({':known', ':files', ':waiting'}) do redis.call('PEXPIREAT', batch(id) .. part, expires) end
return 1
"""
)

CLOSE = (
    ALWAYS
    + _BATCH
    + """
-- id -> 1: all of it has come, or -1: the batch is gone
if not lives(ARGV[1]) then return -1 end
redis.call('HSET', batch(ARGV[1]), 'status', 'complete')
return 1
"""
)

SHOW = (
    PRELUDE
    + _BATCH
    + """
-- id -> {now, status, created, expires, owner, hash of its secret or '', options}; empty where there is none
local seen = redis.call('HMGET', batch(ARGV[1]), 'status', 'created', 'expires', 'owner', 'secret')
if not seen[1] then return {} end
return {now, seen[1], seen[2], seen[3], seen[4], seen[5] or '', redis.call('HGET', batch(ARGV[1]) .. ':order', 'options') or '{}'}
"""
)

NEXT = (
    ALWAYS
    + _BATCH
    + """
-- nothing -> {id, place, file, milliseconds left, owner, address, request id, options} or nil. Batches take turns.
while true do
  local id = redis.call('ZRANGEBYSCORE', key('batches'), '-inf', stamp(now), 'LIMIT', 0, 1)[1]
  if not id then return nil end
  local place = redis.call('ZRANGE', batch(id) .. ':waiting', 0, 0)[1]
  if place and lives(id) then
    local seen = redis.call('HMGET', batch(id), 'expires', 'owner')
    local order = redis.call('HMGET', batch(id) .. ':order', 'address', 'request_id', 'options')
    return {id, place, redis.call('LINDEX', batch(id) .. ':files', place), seen[1] - now, seen[2], unpack(order)}
  end
  redis.call('ZREM', key('batches'), id)
end
"""
)

CHARGE = (
    ALWAYS
    + _BATCH
    + """
-- id, place -> 1: the file is to be charged now, or 0 where it has been, or does not wait any more
if not redis.call('ZSCORE', batch(ARGV[1]) .. ':waiting', ARGV[2]) or not lives(ARGV[1]) then return 0 end
local added = redis.call('SADD', batch(ARGV[1]) .. ':charged', ARGV[2])
redis.call('PEXPIREAT', batch(ARGV[1]) .. ':charged', redis.call('HGET', batch(ARGV[1]), 'expires'))
return added
"""
)

UNCHARGE = (
    ALWAYS
    + _BATCH
    + """
-- id, place -> 1. The file is to be charged when its turn comes again.
redis.call('SREM', batch(ARGV[1]) .. ':charged', ARGV[2])
return 1
"""
)

QUEUED = (
    ALWAYS
    + _BATCH
    + """
-- id, place -> 1, or 0 where the batch is gone. The file has a job; the other batches have their turn.
redis.call('ZREM', batch(ARGV[1]) .. ':waiting', ARGV[2])
redis.call('SREM', batch(ARGV[1]) .. ':charged', ARGV[2])
redis.call('ZADD', key('batches'), 'XX', stamp(now), ARGV[1])
return lives(ARGV[1]) and 1 or 0
"""
)

POSTPONE = (
    ALWAYS
    + """
-- id, milliseconds -> 1. The batch is passed by for so long.
redis.call('ZADD', key('batches'), 'XX', stamp(now + ARGV[2]), ARGV[1])
return 1
"""
)

CANCEL = (
    ALWAYS
    + _BATCH
    + """
-- id -> 1: its files are to be erased, or 0 where there is nothing to erase
local id = ARGV[1]
if not lives(id) then return 0 end
redis.call('HSET', batch(id), 'status', 'canceled')
for _, part in ipairs({':waiting', ':order', ':known', ':charged'}) do redis.call('DEL', batch(id) .. part) end
redis.call('ZREM', key('batches'), id)
redis.call('ZADD', key('batches:erasing'), stamp(now), id)
return 1
"""
)

ERASED = (
    ALWAYS
    + _BATCH
    + """
-- id -> 1. None of its files is left.
redis.call('DEL', batch(ARGV[1]) .. ':files')
redis.call('ZREM', key('batches:erasing'), ARGV[1])
return 1
"""
)

ERASING = (
    PRELUDE
    + """
-- milliseconds -> ids whose files should have been erased before then
return redis.call('ZRANGEBYSCORE', key('batches:erasing'), '-inf', stamp(now - ARGV[1]))
"""
)
