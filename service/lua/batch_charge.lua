-- A file is being taken off its sender's quota.
-- id, place → 1: it is to be charged now, or 0 where it has been, or does not wait any more
even_without_memory()
if not redis.call('ZSCORE', batch(ARGV[1]) .. ':waiting', ARGV[2]) or not is_batch_alive(ARGV[1]) then return 0 end
local added = redis.call('SADD', batch(ARGV[1]) .. ':charged', ARGV[2])
redis.call('PEXPIREAT', batch(ARGV[1]) .. ':charged', redis.call('HGET', batch(ARGV[1]), 'expires'))
return added
