-- How files of a batch stand.
-- id, place of the first that is asked for, from 0, and of the last, 1 where all are to be counted → {{status, how many files have it, of all,
-- in turns}, of each that is asked for: its JSON, its status, error code and detail of its job, and 1 where that has a thumbnail}
local found, counts = {}, {}

local function status_of(file)
  if type(file.code) == 'string' then return 'failed' end
  local seen = type(file.job) == 'string' and redis.call('HMGET', job(file.job), 'status', 'expires')
  return seen and seen[1] and now < tonumber(seen[2]) and seen[1] or 'expired'
end

for _, text in ipairs(redis.call('LRANGE', batch(ARGV[1]) .. ':files', ARGV[2], ARGV[3])) do
  local file, code, detail, thumbnail = cjson.decode(text), '', '', ''
  local status = status_of(file)
  if type(file.job) == 'string' and status == 'failed' then
    code, detail = get_field(file.job, 'error_code') or '', get_field(file.job, 'error_detail') or ''
  end
  if status == 'succeeded' and string.find(get_field(file.job, 'artifacts') or '', '"thumbnail"', 1, true) then thumbnail = '1' end
  for _, word in ipairs({text, status, code, detail, thumbnail}) do found[#found + 1] = word end
end
if ARGV[4] == '1' then
  local by_status = {}
  for _, text in ipairs(redis.call('LRANGE', batch(ARGV[1]) .. ':files', 0, -1)) do
    local status = status_of(cjson.decode(text))
    by_status[status] = (by_status[status] or 0) + 1
  end
  for status, count in pairs(by_status) do
    counts[#counts + 1] = status
    counts[#counts + 1] = count
  end
end
return {counts, unpack(found)}
