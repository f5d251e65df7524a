-- Enters a job as queued.
-- id, secret hash, options, pixels, milliseconds to keep, 1 for a batch, owner, request id, fingerprint, group, mark of this call, most jobs,
-- most pixels, upload, who pays, most bytes of records that one may hold or 0, bytes of memory, id of the job whose photo is colored anew or '',
-- bytes that the record takes beside RECORD_BYTES
-- → {a word of `Entered` in models.py}; or {'full', jobs, pixels, speed}: no room in the queue, {'records'}: its sender holds as many as one may,
-- {'canceled'} or {'expired'}: that photo is erased, {'revisions'}: it has as many as one may have
local MOST_REVISIONS = 1000  -- erased with their original in one step
local id, original, expires, extra = ARGV[1], ARGV[18], now + ARGV[5], tonumber(ARGV[19])
local made = key('made:' .. ARGV[11])
if redis.call('EXISTS', job(id)) == 1 then
  return {redis.call('EXISTS', made) == 1 and 'to_notify' or 'taken'}  -- where the answer to this call was lost, it came again
end
if original ~= '' then
  local seen = redis.call('HMGET', job(original), 'status', 'expires')
  if seen[1] == 'canceled' then return {'canceled'} end
  if not seen[1] or seen[1] == 'expired' or now >= tonumber(seen[2]) then return {'expired'} end
  if redis.call('SCARD', key('revisions:' .. original)) >= MOST_REVISIONS then return {'revisions'} end
  expires = math.min(expires, tonumber(seen[2]))
end
if not has_room(ARGV[4], ARGV[12], ARGV[13]) then
  return {'full', redis.call('ZCARD', key('queued')), sum('queued'), tostring((speed() or 0) * 1000)}
end
if not take_records(ARGV[15], tonumber(ARGV[16]), expires, RECORD_BYTES + extra, ERASED_RECORD_BYTES) then return {'records'} end
make_job(id, stamp(expires), extra, 'secret', ARGV[2], 'options', ARGV[3], 'pixels', ARGV[4], 'batch', ARGV[6], 'owner', ARGV[7],
  'request_id', ARGV[8], 'fingerprint', ARGV[9], 'group', ARGV[10], 'upload', ARGV[14], 'memory', ARGV[17], 'payer', ARGV[15])
redis.call('SET', made, 1, 'PX', MARK_MS)
if original ~= '' then
  set_fields(id, 'revises', original)
  redis.call('SADD', key('revisions:' .. original), id)
end
enqueue(id)
return {is_to_be_notified() and 'to_notify' or 'quietly'}
