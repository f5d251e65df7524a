-- Batches whose files should have been erased by now.
-- milliseconds since then → ids
return redis.call('ZRANGEBYSCORE', key('batches:erasing'), '-inf', stamp(now - ARGV[1]))
