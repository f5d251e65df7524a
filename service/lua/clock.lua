-- Looks whether the server's clock has jumped. If so, all that is alive gets the time that it had left, on the clock as it is now.
-- the time that it should be by now, the jumps in all that its asker knows of, both '' at first; milliseconds that are no jump
-- → {now, jumps in all; this jump, or 0}
local jumps = redis.call('HGET', key('clock'), 'shift') or '0'
if ARGV[2] ~= jumps or math.abs(now - ARGV[1]) <= tonumber(ARGV[3]) then return {now, jumps, 0} end
even_without_memory()
local by = now - ARGV[1]

local function shift(set, member_hash, fields)
  local rows = redis.call('ZRANGE', key(set), 0, -1)
  for _, member in ipairs(rows) do
    redis.call('ZINCRBY', key(set), stamp(by), member)
    for _, field in ipairs(fields or {}) do
      if redis.call('HEXISTS', key(member_hash .. member), field) == 1 then
        redis.call('HINCRBY', key(member_hash .. member), field, stamp(by))
      end
    end
  end
end

shift('due', 'job:', {'expires'})
shift('batches:due', 'batch:', {'expires'})
shift('webhooks', 'webhook:', {'ended'})
shift('workers', 'worker:', {'born', 'asked', 'took'})
for _, set in ipairs({'queued', 'batched', 'running', 'batches', 'batches:erasing'}) do shift(set) end
for _, field in ipairs({'since', 'mark', 'erased', 'rewritten'}) do
  if redis.call('HEXISTS', key('sums'), field) == 1 then redis.call('HINCRBY', key('sums'), field, stamp(by)) end
end
for _, name in ipairs({'reaping', 'notified', 'notifications'}) do redis.call('DEL', key(name)) end
redis.call('HINCRBY', key('clock'), 'shift', stamp(by))
redis.call('HSET', key('clock'), 'by', stamp(by), 'at', stamp(now))
return {now, redis.call('HGET', key('clock'), 'shift'), by}
