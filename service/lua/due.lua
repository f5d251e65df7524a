-- Ids whose files are to be erased by now. Writes nothing, so that a server which refuses to write answers it.
-- most ids, how many to pass over, a time up to which the server's clock is known to be right → ids, those due longest first
return redis.call('ZRANGEBYSCORE', key('due'), '-inf', stamp(math.min(now, ARGV[3])), 'LIMIT', ARGV[2], ARGV[1])
