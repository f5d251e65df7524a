-- The files of jobs are gone. A canceled job's record is due once more when it expires, one that expired in a worker's hands when that
-- cannot write any more. What lives, or is promised anew, stays due. Else its bytes of the store are given back.
-- milliseconds, ids → 1
even_without_memory()
for at = 2, #ARGV do
  local id = ARGV[at]
  local due = redis.call('ZSCORE', key('due'), id)
  local seen = redis.call('HMGET', job(id), 'status', 'expires', 'erase_again')
  local is_past = due and tonumber(due) <= now
  if seen[1] == 'canceled' or seen[1] == 'expired' or (not seen[1] and is_past) then drop_store(id) end
  local dead = not seen[1] or seen[1] == 'expired'
  if seen[1] == 'canceled' and now < tonumber(seen[2]) then
    redis.call('ZADD', key('due'), seen[2], id)
  elseif dead and seen[3] then
    redis.call('HDEL', job(id), 'erase_again')
    redis.call('ZADD', key('due'), stamp(now + ARGV[1]), id)
  elseif dead and is_past then
    redis.call('ZREM', key('due'), id)
  end
end
return 1
