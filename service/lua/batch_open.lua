-- Begins a batch, or goes on with it.
-- id, milliseconds to keep, fingerprint, owner, who pays, request id, options, most files that may wait for a new batch to be begun,
-- hash of the secret that the sender says it has or '', hash of the one that it gets otherwise, mark of this call, 1 where its jobs
-- let others go first, most bytes of records that one may hold or 0, bytes that the record of each takes beside RECORD_BYTES
-- → time of expiry; 'expired', 'canceled', 'another': it is a different one, 'full': too many wait, 'records': its sender holds
-- as many as one may, or 'unproven': no key made it, and the sender does not know its secret
local id = ARGV[1]
local seen = redis.call('HMGET', batch(id), 'status', 'expires', 'fingerprint', 'owner', 'secret', 'made')
if seen[1] then
  if seen[6] == ARGV[11] then return tonumber(seen[2]) end  -- the answer to this call was lost, and it came again
  if now >= tonumber(seen[2]) then return 'expired' end
  if seen[1] == 'canceled' then return 'canceled' end
  if seen[4] == '' and ARGV[4] == '' and seen[5] ~= ARGV[9] then return 'unproven' end
  if seen[3] ~= ARGV[3] then return 'another' end
  return tonumber(seen[2])
end
local waiting = 0
for _, other in ipairs(redis.call('ZRANGE', key('batches'), 0, -1)) do
  waiting = waiting + redis.call('LLEN', batch(other) .. ':waiting')
end
if waiting >= tonumber(ARGV[8]) then return 'full' end
local expires = now + ARGV[2]
if not take_records(ARGV[5], tonumber(ARGV[13]), expires, RECORD_BYTES + ARGV[14], ERASED_RECORD_BYTES) then return 'records' end
redis.call('HSET', batch(id), 'status', 'receiving', 'created', stamp(now), 'expires', stamp(expires), 'fingerprint', ARGV[3],
  'owner', ARGV[4], 'secret', ARGV[9] ~= '' and ARGV[9] or ARGV[10], 'made', ARGV[11])
redis.call('PEXPIREAT', batch(id), stamp(expires + ERASED_RECORD_MS))
redis.call('HSET', batch(id) .. ':order', 'payer', ARGV[5], 'request_id', ARGV[6], 'options', ARGV[7],
  'batch', ARGV[12], 'extra', ARGV[14])
redis.call('PEXPIREAT', batch(id) .. ':order', stamp(expires + ERASED_RECORD_MS))  -- should nobody erase it
redis.call('ZADD', key('batches:due'), stamp(expires), id)
return expires
