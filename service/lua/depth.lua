-- How much waits and runs.
-- nothing → {jobs and pixels that wait, jobs and pixels that run, pixels per second, ms the oldest has waited,
-- bytes of the store, and bytes of it that are kept for results}
local oldest = now
for _, set in ipairs({'queued', 'batched'}) do
  local first = redis.call('ZRANGE', key(set), 0, 0, 'WITHSCORES')
  if first[2] then oldest = math.min(oldest, first[2]) end
end
return {redis.call('ZCARD', key('queued')), sum('queued'), redis.call('ZCARD', key('running')), sum('running'),
  tostring((speed() or 0) * 1000), now - oldest,
  sum('store'), sum('room')}
