-- Leaves erased records of jobs past their time, for a short time where they and all else have taken half of the server's memory: the other half is
-- for jobs that live.
-- most ids, a time up to which the server's clock is known to be right → ids whose files are to be erased now
even_without_memory()
local SHORT_RECORD_MS = 60 * 1000  -- longer than it takes to erase their files

local function is_memory_short()
  local info = redis.pcall('INFO', 'memory')
  if type(info) ~= 'string' then return false end  -- a server that does not let us know
  local used, most = string.match(info, 'used_memory:(%d+)'), string.match(info, 'maxmemory:(%d+)')
  return tonumber(most or 0) > 0 and 2 * used > tonumber(most)
end

local due = redis.call('ZRANGEBYSCORE', key('due'), '-inf', stamp(math.min(now, ARGV[2])), 'LIMIT', 0, ARGV[1])
local kept = is_memory_short() and SHORT_RECORD_MS or ERASED_RECORD_MS
for _, id in ipairs(due) do
  local seen = redis.call('HMGET', job(id), 'expires', 'status')
  if seen[1] and seen[2] ~= 'expired' and now >= tonumber(seen[1]) then
    erase_record(id, 'expired')
    redis.call('PEXPIRE', job(id), redis.call('HEXISTS', job(id), 'erase_again') == 1 and ERASED_RECORD_MS or kept)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('batches:due'), '-inf', stamp(math.min(now, ARGV[2])), 'LIMIT', 0, ARGV[1])) do
  close_batch(id)
  redis.call('DEL', batch(id) .. ':files')
  redis.call('PEXPIRE', batch(id), kept)
end
return due
