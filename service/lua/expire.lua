-- Leaves erased records of jobs past their time.
-- most ids → ids whose files are to be erased now
even_without_memory()
local due = redis.call('ZRANGEBYSCORE', key('due'), '-inf', stamp(now), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local seen = redis.call('HMGET', job(id), 'expires', 'status')
  if seen[1] and seen[2] ~= 'expired' and now >= tonumber(seen[1]) then
    erase_record(id, 'expired')
    redis.call('PEXPIRE', job(id), ERASED_RECORD_MS)
  end
end
return due
