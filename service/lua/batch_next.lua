-- The file that is to be queued next. Batches take turns.
-- nothing → {id, place, file, milliseconds left, owner, address, request id, options}, or nil
even_without_memory()
while true do
  local id = redis.call('ZRANGEBYSCORE', key('batches'), '-inf', stamp(now), 'LIMIT', 0, 1)[1]
  if not id then return nil end
  local place = redis.call('ZRANGE', batch(id) .. ':waiting', 0, 0)[1]
  if place and is_batch_alive(id) then
    local seen = redis.call('HMGET', batch(id), 'expires', 'owner')
    local order = redis.call('HMGET', batch(id) .. ':order', 'address', 'request_id', 'options')
    return {id, place, redis.call('LINDEX', batch(id) .. ':files', place), seen[1] - now, seen[2], unpack(order)}
  end
  redis.call('ZREM', key('batches'), id)
end
