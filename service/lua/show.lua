-- How a job stands.
-- id → {now, place in the queue, seconds until it is done, fields and values}; fields are empty where there is none
local record = get_fields(ARGV[1])
local rank = redis.call('ZRANK', key('queued'), ARGV[1])
if not rank then return {now, false, false, record} end
local seconds = eta(ARGV[1], rank + 1)
return {now, rank + 1, seconds and tostring(seconds) or false, record}
