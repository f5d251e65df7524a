-- Leaves erased records of jobs past their time.
-- most ids, a time up to which the server's clock is known to be right, milliseconds for which these records are kept
-- → ids whose files are to be erased now
even_without_memory()
local due = redis.call('ZRANGEBYSCORE', key('due'), '-inf', stamp(math.min(now, ARGV[2])), 'LIMIT', 0, ARGV[1])
for _, id in ipairs(due) do
  local seen = redis.call('HMGET', job(id), 'expires', 'status')
  if seen[1] and seen[2] ~= 'expired' and now >= tonumber(seen[1]) then
    for _, erased in ipairs(erase_with_revisions(id, 'expired')) do
      -- What is to be erased once more says so in its record.
      redis.call('PEXPIRE', job(erased), redis.call('HEXISTS', job(erased), 'erase_again') == 1 and ERASED_RECORD_MS or ARGV[3])
    end
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', key('batches:due'), '-inf', stamp(math.min(now, ARGV[2])), 'LIMIT', 0, ARGV[1])) do
  close_batch(id)
  redis.call('DEL', batch(id) .. ':files')
  redis.call('PEXPIRE', batch(id), ARGV[3])
end
return due
