-- Enters a job as queued.
-- id, secret hash, options, pixels, milliseconds to keep, 1 for a batch, owner, request id, fingerprint, group, mark of this call, most jobs,
-- most pixels, upload, who pays, most bytes of records that one may hold or 0, bytes of memory, id of the job whose photo is colored anew or ''
-- → {2} new, and workers are to be notified; {1} new; {0} where the id is taken; {-1, jobs, pixels, speed} where there is no room;
-- {-2} where its sender holds as many records as one may; {-3, 'canceled' or 'expired'} where that photo is erased, {-4} where it has as many
-- revisions as one may have
local MOST_REVISIONS = 1000  -- erased with their original in one step
local id, original, expires = ARGV[1], ARGV[18], now + ARGV[5]
local made = key('made:' .. ARGV[11])
if redis.call('EXISTS', job(id)) == 1 then
  return {redis.call('EXISTS', made) == 1 and 2 or 0}  -- where the answer to this call was lost, it came again
end
if original ~= '' then
  local seen = redis.call('HMGET', job(original), 'status', 'expires')
  if seen[1] == 'canceled' then return {-3, 'canceled'} end
  if not seen[1] or seen[1] == 'expired' or now >= tonumber(seen[2]) then return {-3, 'expired'} end
  if redis.call('SCARD', key('revisions:' .. original)) >= MOST_REVISIONS then return {-4} end
  expires = math.min(expires, tonumber(seen[2]))
end
if not has_room(ARGV[4], ARGV[12], ARGV[13]) then
  return {-1, redis.call('ZCARD', key('queued')), sum('queued'), tostring((speed() or 0) * 1000)}
end
if not take_records(ARGV[15], tonumber(ARGV[16]), expires, RECORD_BYTES, ERASED_RECORD_BYTES) then return {-2} end
make_job(id, stamp(expires), 'secret', ARGV[2], 'options', ARGV[3], 'pixels', ARGV[4], 'batch', ARGV[6], 'owner', ARGV[7],
  'request_id', ARGV[8], 'fingerprint', ARGV[9], 'group', ARGV[10], 'upload', ARGV[14], 'memory', ARGV[17], 'payer', ARGV[15])
redis.call('SET', made, 1, 'PX', MARK_MS)
if original ~= '' then
  set_fields(id, 'revises', original)
  redis.call('SADD', key('revisions:' .. original), id)
end
enqueue(id)
return {is_to_be_notified() and 2 or 1}
