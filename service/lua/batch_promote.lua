-- Queues the job that waits next, and takes it off its sender's quota. Batches take turns; one whose quota is used up lets the others go
-- first until it is not. A server without memory refuses, as it refuses new jobs: the first write to a job or a quota needs some.
-- most jobs, most pixels, megapixels a minute without a key, and with one: 0 for no quota
-- → {id, batch, pixels, request id, 1 where workers are to be notified}, or nil where none waits, or may be queued
local moment = string.format('%.3f', clock[1] * 1000 + clock[2] / 1000)  -- finer than milliseconds, for turns that follow each other at once
while true do
  local id = redis.call('ZRANGEBYSCORE', key('batches'), '-inf', moment, 'LIMIT', 0, 1)[1]
  if not id then return nil end
  local first = redis.call('LINDEX', batch(id) .. ':waiting', 0)
  if not first then
    redis.call('ZREM', key('batches'), id)
  elseif not is_batch_alive(id) then
    redis.call('ZADD', key('batches'), stamp(now + 1000), id)  -- it is erased, unless the server's clock has jumped
  else
    local seen = redis.call('HMGET', job(first), 'status', 'pixels', 'owner', 'request_id', 'weight')
    if seen[1] ~= 'waiting' then
      redis.call('LPOP', batch(id) .. ':waiting')
    elseif not has_room(seen[2], ARGV[1], ARGV[2]) then
      return nil
    else
      local most, wait = tonumber(seen[3] == '' and ARGV[3] or ARGV[4]), 0
      if most > 0 then wait = charge_quota(redis.call('HGET', batch(id) .. ':order', 'payer'), most, seen[5] or seen[2], first) end
      if wait > 0 then
        redis.call('ZADD', key('batches'), stamp(now + wait), id)
      else
        redis.call('HSET', job(first), 'created', stamp(now))
        enqueue(first)
        redis.call('LPOP', batch(id) .. ':waiting')
        redis.call('ZADD', key('batches'), moment, id)
        return {first, id, seen[2], seen[4], is_to_be_notified() and 1 or 0}
      end
    end
  end
end
