-- Begins webhook deliveries. Those to a receiver that has as many under way as it may are passed over.
-- most, milliseconds of lease, most tries, milliseconds after the end, mark of this call, most to one receiver, the receivers of those that
-- the caller has under way
-- → {id, url, event, ended, try} of each that is due; and {id, event, tries} of each that had all its tries, or its time, and is given up
even_without_memory()
local MOST_SEEN, PUT_OFF_MS = 200, 500

-- host and port, by which slots are counted
local function receiver(url) return string.lower(string.match(url, '^%a+://([^/?#]*)') or url) end

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
local taken, given_up, passed_over, under_way = {}, {}, {}, {}
for at = 7, #ARGV do under_way[ARGV[at]] = (under_way[ARGV[at]] or 0) + 1 end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('webhooks'), '-inf', stamp(now), 'LIMIT', 0, MOST_SEEN)) do
  if #taken >= tonumber(ARGV[1]) then break end
  local seen = redis.call('HMGET', key('webhook:' .. id), 'url', 'event', 'ended', 'tries')
  if seen[1] and (tonumber(seen[4]) >= tonumber(ARGV[3]) or now - seen[3] > tonumber(ARGV[4])) then
    redis.call('DEL', key('webhook:' .. id))
    redis.call('ZREM', key('webhooks'), id)
    increment('webhooks:given_up')
    given_up[#given_up + 1] = {id, seen[2], seen[4]}
  elseif seen[1] and (under_way[receiver(seen[1])] or 0) >= tonumber(ARGV[6]) then
    passed_over[#passed_over + 1] = id
  elseif seen[1] then
    under_way[receiver(seen[1])] = (under_way[receiver(seen[1])] or 0) + 1
    redis.call('ZADD', key('webhooks'), stamp(now + ARGV[2]), id)
    redis.call('HINCRBY', key('webhook:' .. id), 'tries', 1)
    taken[#taken + 1] = id
  else
    redis.call('ZREM', key('webhooks'), id)
  end
end
if #passed_over == MOST_SEEN then  -- there may be others behind them
  for _, id in ipairs(passed_over) do redis.call('ZADD', key('webhooks'), stamp(now + PUT_OFF_MS), id) end
end
if #taken + #given_up > 0 then  -- ids alone: an address may hold a secret, and goes with its job
  redis.call('SET', key('webhooks:' .. ARGV[5]), cjson.encode({taken, given_up}), 'PX', ARGV[2])
end
return {deliveries(taken), given_up}
