-- The files of a job are gone. A canceled job's record is due once more when it expires, one that expired in a worker's hands when that
-- cannot write any more. What lives, or is promised anew, stays due. Else its bytes of the store are given back.
-- id, milliseconds → 1
even_without_memory()
local due = redis.call('ZSCORE', key('due'), ARGV[1])
local seen = redis.call('HMGET', job(ARGV[1]), 'status', 'expires', 'erase_again')
local is_past = due and tonumber(due) <= now
if seen[1] == 'canceled' or seen[1] == 'expired' or (not seen[1] and is_past) then drop_store(ARGV[1]) end
local dead = not seen[1] or seen[1] == 'expired'
if seen[1] == 'canceled' and now < tonumber(seen[2]) then
  redis.call('ZADD', key('due'), seen[2], ARGV[1])
elseif dead and seen[3] then
  redis.call('HDEL', job(ARGV[1]), 'erase_again')
  redis.call('ZADD', key('due'), stamp(now + ARGV[2]), ARGV[1])
elseif dead and is_past then
  redis.call('ZREM', key('due'), ARGV[1])
end
return 1
