-- Takes jobs whose lease ran out, and those of workers that beat when they took them and do no more. When nobody has reaped for a while, all
-- workers were cut off from this server: those that beat before shall beat and renew again first, or an outage would be a failed attempt of
-- every job. Each of the attempts that are taken has failed.
-- code, detail, most failed attempts, most ids, milliseconds that workers have to beat again, how the names of workers begin that are known to be
-- dead, or '' → ids that wait again
even_without_memory()
local begun = redis.call('GET', key('reaping')) or stamp(now)
redis.call('SET', key('reaping'), begun, 'PX', ARGV[5])
local have_had_time = now - begun >= tonumber(ARGV[5])

local lost = {}
local running = redis.call('ZRANGE', key('running'), 0, -1, 'WITHSCORES')
for at = 1, #running, 2 do
  local id, silent = running[at], tonumber(running[at + 1]) <= now
  local seen = redis.call('HMGET', job(id), 'worker', 'beats')
  if seen[2] == '1' then
    silent = have_had_time and (silent or redis.call('EXISTS', key('worker:' .. seen[1])) == 0)
  end
  if ARGV[6] ~= '' and string.sub(seen[1] or '', 1, #ARGV[6]) == ARGV[6] then silent = true end
  if silent and #lost < tonumber(ARGV[4]) then lost[#lost + 1] = id end
end

local waiting = {}
for _, id in ipairs(lost) do
  note_failure(id)
  increment('leases:expired')
  if requeue(id, ARGV[1], ARGV[2], ARGV[3]) then waiting[#waiting + 1] = id end
end
return waiting
