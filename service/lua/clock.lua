-- Looks whether the server's clock has jumped. If so, all that is alive gets the time that it had left, on the clock as it is now.
-- the time that it should be by now, the jumps in all that its asker knows of, both '' at first; milliseconds that are no jump;
-- milliseconds since its asker looked last
-- → {now, jumps in all; this jump, or 0}
local jumps = redis.call('HGET', key('clock'), 'shift') or '0'
if ARGV[2] ~= jumps or math.abs(now - ARGV[1]) <= tonumber(ARGV[3]) then return {now, jumps, 0} end
even_without_memory()
local by, since = now - ARGV[1], now - ARGV[4]

-- `latest`: no time in the set can be later. What was written after the jump was right, and is not to lie a day ahead.
local function shift(set, latest, hashes, field)
  local rows = redis.call('ZRANGE', key(set), 0, -1, 'WITHSCORES')
  for at = 1, #rows, 2 do
    local member, time = rows[at], rows[at + 1] + by
    local last = latest and (time > ISOLATED_TURN and ISOLATED_TURN + latest or latest)
    local hash = hashes and key(hashes .. member)
    local seen = hash and redis.call('HMGET', hash, field or '', 'created') or {}
    local is_new = seen[2] and tonumber(seen[2]) >= since and tonumber(seen[2]) <= now
    if not is_new then
      redis.call('ZADD', key(set), stamp(last and math.min(time, last) or time), member)
      if seen[1] then redis.call('HINCRBY', hash, field, stamp(by)) end
    end
  end
end

shift('due', nil, 'job:', 'expires')
shift('batches:due', nil, 'batch:', 'expires')
shift('webhooks', nil, 'webhook:', 'ended')
shift('running')
shift('queued', now + HEAD_START_MS, 'job:')
shift('workers', now, 'worker:', 'asked')
shift('batched', now, 'job:')
for _, set in ipairs({'batches', 'batches:erasing'}) do shift(set, now) end
for _, field in ipairs({'since', 'mark', 'erased', 'rewritten'}) do
  local time = redis.call('HGET', key('sums'), field)
  if time then redis.call('HSET', key('sums'), field, stamp(math.min(now, time + by))) end
end
for _, name in ipairs({'reaping', 'notified', 'notifications'}) do redis.call('DEL', key(name)) end
redis.call('HINCRBY', key('clock'), 'shift', stamp(by))
redis.call('HSET', key('clock'), 'by', stamp(by), 'at', stamp(now))
return {now, redis.call('HGET', key('clock'), 'shift'), by}
