-- Takes jobs whose lease ran out, and those of workers that beat when they took them and do no more. But not these when nobody has reaped
-- for a while: then all workers were cut off from this server, and shall beat again first. Each of these attempts has failed.
-- code, detail, most failed attempts, most ids, milliseconds that workers have to beat again → ids that wait again
even_without_memory()
local begun = redis.call('GET', key('reaping')) or stamp(now)
redis.call('SET', key('reaping'), begun, 'PX', ARGV[5])
local beats_count = now - begun >= tonumber(ARGV[5])

local lost = {}
local running = redis.call('ZRANGE', key('running'), 0, -1, 'WITHSCORES')
for at = 1, #running, 2 do
  local id, silent = running[at], tonumber(running[at + 1]) <= now
  if not silent and beats_count then
    local seen = redis.call('HMGET', job(id), 'worker', 'beats')
    silent = seen[2] == '1' and redis.call('EXISTS', key('worker:' .. seen[1])) == 0
  end
  if silent and #lost < tonumber(ARGV[4]) then lost[#lost + 1] = id end
end

local waiting = {}
for _, id in ipairs(lost) do
  redis.call('HINCRBY', job(id), 'failures', 1)
  if requeue(id, ARGV[1], ARGV[2], ARGV[3]) then waiting[#waiting + 1] = id end
end
return waiting
