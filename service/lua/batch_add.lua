-- Takes a file in, with its job, which waits to be queued.
-- id, what the file is known by, most files, file or '' to ask only, id of its job or '' where it is refused, hash of the job's secret, pixels, what
-- it counts as of a quota, most bytes of records that its sender may hold or 0, bytes of memory
-- → 'records': that one holds so many, 'added' (or it may be), 'known', 'gone': the batch is, 'complete': nothing more is taken in, 'full'
local id, file, made = ARGV[1], ARGV[4], ARGV[5]
local alive, status = is_batch_alive(id)
if not alive then return 'gone' end
if redis.call('SISMEMBER', batch(id) .. ':known', ARGV[2]) == 1 then return 'known' end
if status == 'complete' then return 'complete' end
if redis.call('LLEN', batch(id) .. ':files') >= tonumber(ARGV[3]) then return 'full' end
if file == '' then return 'added' end
local seen = redis.call('HMGET', batch(id), 'expires', 'owner')
local order = redis.call('HMGET', batch(id) .. ':order', 'options', 'batch', 'request_id', 'payer', 'extra')
local extra = tonumber(order[5] or 0)
local bytes, erased = #file + ENTRY_BYTES, 0
if made ~= '' then bytes, erased = bytes + RECORD_BYTES + extra, ERASED_RECORD_BYTES end
if not take_records(order[4], tonumber(ARGV[9]), seen[1], bytes, erased) then return 'records' end
redis.call('SADD', batch(id) .. ':known', ARGV[2])
redis.call('RPUSH', batch(id) .. ':files', file)
if made ~= '' and redis.call('EXISTS', job(made)) == 0 then  -- it does where it is of a batch that had this id and these photos before
  make_job(made, seen[1], extra, 'status', 'waiting', 'secret', ARGV[6], 'options', order[1], 'pixels', ARGV[7], 'weight', ARGV[8], 'batch', order[2],
    'owner', seen[2], 'request_id', order[3], 'fingerprint', '', 'group', id, 'upload', '', 'memory', ARGV[10])
  redis.call('RPUSH', batch(id) .. ':waiting', made)
  redis.call('ZADD', key('batches'), 'NX', stamp(now), id)
end
for _, part in ipairs({':known', ':files', ':waiting'}) do
  redis.call('PEXPIREAT', batch(id) .. part, stamp(seen[1] + ERASED_RECORD_MS))  -- should nobody erase it
end
return 'added'
