-- How a job stands.
-- id → {now, place in the queue, seconds until it is done, fields and values}; fields are empty where there is none
local LOOK_AT = 50  -- jobs before one whose pixels are added up for its estimate, instead of the average

-- seconds until a job that waits in this place is done, itself and all that runs included, or nil
local function eta(id, place)
  local pace = speed()
  if not pace then return nil end
  local pixels = sum('running') + redis.call('HGET', job(id), 'pixels')
  if place > 1 then
    for _, other in ipairs(redis.call('ZRANGE', key('queued'), 0, math.min(place - 1, LOOK_AT) - 1)) do
      pixels = pixels + (redis.call('HGET', job(other), 'pixels') or 0)
    end
  end
  local rest = math.max(0, place - 1 - LOOK_AT)  -- these as large as all are on average
  if rest > 0 then pixels = pixels + rest * sum('queued') / redis.call('ZCARD', key('queued')) end
  return math.ceil(pixels / pace / 100) / 10
end

local record = get_fields(ARGV[1])
local rank = redis.call('ZRANK', key('queued'), ARGV[1])
if not rank then return {now, false, false, record} end
local seconds = eta(ARGV[1], rank + 1)
return {now, rank + 1, seconds and tostring(seconds) or false, record}
