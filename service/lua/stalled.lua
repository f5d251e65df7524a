-- Workers that beat and hold nothing, but have not asked for that long, although there was always something waiting.
-- milliseconds, milliseconds of a beat → their names
local since = redis.call('HGET', key('sums'), 'since')
if not since or now - since < tonumber(ARGV[1]) then return {} end
local found = {}
for _, name in ipairs(redis.call('ZRANGEBYSCORE', key('workers'), stamp(now - ARGV[2]), '+inf')) do
  local seen = redis.call('HMGET', key('worker:' .. name), 'born', 'asked', 'took')
  local last = math.max(seen[1] or 0, seen[2] or 0, math.min(seen[3] or 0, now))
  if seen[1] and now - last >= tonumber(ARGV[1]) and redis.call('SCARD', key('worker:' .. name .. ':jobs')) == 0 then
    found[#found + 1] = name
  end
end
return found
