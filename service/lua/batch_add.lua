-- Takes a file in.
-- id, what the file is known by, most files, file or '' to ask only, 1 where it is to wait
-- → 'added' (or it may be), 'known', 'gone': the batch is, 'complete': nothing more is taken in, 'full'
local id, file = ARGV[1], ARGV[4]
local alive, status = is_batch_alive(id)
if not alive then return 'gone' end
if redis.call('SISMEMBER', batch(id) .. ':known', ARGV[2]) == 1 then return 'known' end
if status == 'complete' then return 'complete' end
if redis.call('LLEN', batch(id) .. ':files') >= tonumber(ARGV[3]) then return 'full' end
if file == '' then return 'added' end
local expires = redis.call('HGET', batch(id), 'expires')
redis.call('SADD', batch(id) .. ':known', ARGV[2])
local place = redis.call('RPUSH', batch(id) .. ':files', file) - 1
if ARGV[5] == '1' then
  redis.call('ZADD', batch(id) .. ':waiting', place, place)
  redis.call('ZADD', key('batches'), 'NX', stamp(now), id)
end
for _, part in ipairs({':known', ':files', ':waiting'}) do redis.call('PEXPIREAT', batch(id) .. part, expires) end
return 'added'
