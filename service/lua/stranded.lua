-- Jobs that have waited for some time, whose notification may be lost; at most once in a while.
-- least age, milliseconds of quiet, most ids → the oldest ids that wait, or none while it is quiet
even_without_memory()
local waiting, seen = {}, {}
for _, set in ipairs({'queued', 'batched'}) do
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', key(set), '-inf', stamp(now - ARGV[1]), 'LIMIT', 0, ARGV[3])) do
    if not seen[id] and #waiting < tonumber(ARGV[3]) then waiting[#waiting + 1] = id end
    seen[id] = true
  end
end
if #waiting == 0 or not redis.call('SET', key('notified'), 1, 'NX', 'PX', ARGV[2]) then return {} end
return waiting
