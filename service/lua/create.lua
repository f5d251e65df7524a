-- Enters a job as queued.
-- id, secret hash, options, pixels, milliseconds to keep, 1 for a batch, owner, request id, fingerprint, group, mark of this call, most jobs,
-- most pixels, upload, who pays, most bytes of records that one may hold or 0, bytes of memory
-- → {2} new, and workers are to be notified; {1} new; {0} where the id is taken; {-1, jobs, pixels, speed} where there is no room;
-- {-2} where its sender holds as many records as one may
local id = ARGV[1]
if redis.call('EXISTS', job(id)) == 1 then
  -- where the answer to this call was lost, it came again
  return {redis.call('HGET', job(id), 'made') == ARGV[11] and 2 or 0}
end
if not has_room(ARGV[4], ARGV[12], ARGV[13]) then
  return {-1, redis.call('ZCARD', key('queued')), sum('queued'), tostring((speed() or 0) * 1000)}
end
if not take_records(ARGV[15], tonumber(ARGV[16]), now + ARGV[5], RECORD_BYTES, ERASED_RECORD_BYTES) then return {-2} end
make_job(id, stamp(now + ARGV[5]), 'secret', ARGV[2], 'options', ARGV[3], 'pixels', ARGV[4], 'batch', ARGV[6], 'owner', ARGV[7],
  'request_id', ARGV[8], 'fingerprint', ARGV[9], 'group', ARGV[10], 'made', ARGV[11], 'upload', ARGV[14], 'memory', ARGV[17], 'payer', ARGV[15])
enqueue(id)
return {is_to_be_notified() and 2 or 1}
