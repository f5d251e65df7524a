-- Begins webhook deliveries.
-- most, milliseconds of lease, most tries, milliseconds after the end, mark of this call
-- → {id, url, event, ended, try} of each that is due; and {id, event, tries} of each that had all its tries, or its time, and is given up
even_without_memory()

local function deliveries(ids)
  local found = {}
  for _, id in ipairs(ids) do
    local seen = redis.call('HMGET', key('webhook:' .. id), 'url', 'event', 'ended', 'tries')
    if seen[1] then found[#found + 1] = {id, unpack(seen)} end
  end
  return found
end

local answered = redis.call('GET', key('webhooks:' .. ARGV[5]))
if answered then  -- the answer to this call was lost, and it came again
  local before = cjson.decode(answered)
  return {deliveries(before[1]), before[2]}
end
local taken, given_up = {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('webhooks'), '-inf', stamp(now), 'LIMIT', 0, ARGV[1])) do
  local seen = redis.call('HMGET', key('webhook:' .. id), 'url', 'event', 'ended', 'tries')
  if seen[1] and (tonumber(seen[4]) >= tonumber(ARGV[3]) or now - seen[3] > tonumber(ARGV[4])) then
    redis.call('DEL', key('webhook:' .. id))
    redis.call('ZREM', key('webhooks'), id)
    increment('webhooks:given_up')
    given_up[#given_up + 1] = {id, seen[2], seen[4]}
  elseif seen[1] then
    redis.call('ZADD', key('webhooks'), stamp(now + ARGV[2]), id)
    redis.call('HINCRBY', key('webhook:' .. id), 'tries', 1)
    taken[#taken + 1] = id
  else
    redis.call('ZREM', key('webhooks'), id)
  end
end
if #taken + #given_up > 0 then  -- ids alone: an address may hold a secret, and goes with its job
  redis.call('SET', key('webhooks:' .. ARGV[5]), cjson.encode({taken, given_up}), 'PX', ARGV[2])
end
return {deliveries(taken), given_up}
