-- How the files of a batch stand.
-- id, place of the first that is asked for, from 0, and of the last → {{status, how many files have it, of all, in turns}, of each that is
-- asked for: its JSON, its status, and error code and detail of its job}
local counts, found = {}, {}
for at, text in ipairs(redis.call('LRANGE', batch(ARGV[1]) .. ':files', 0, -1)) do
  local file, status = cjson.decode(text), 'expired'
  local id = type(file.job) == 'string' and file.job
  local seen = id and redis.call('HMGET', job(id), 'status', 'expires')
  if type(file.code) == 'string' then
    status = 'failed'
  elseif seen and seen[1] and now < tonumber(seen[2]) then
    status = seen[1]
  end
  counts[status] = (counts[status] or 0) + 1
  if at > tonumber(ARGV[2]) and at <= tonumber(ARGV[3]) + 1 then
    local code, detail = '', ''
    if id and status == 'failed' then code, detail = get_field(id, 'error_code') or '', get_field(id, 'error_detail') or '' end
    for _, word in ipairs({text, status, code, detail}) do found[#found + 1] = word end
  end
end
local flat = {}
for status, count in pairs(counts) do
  flat[#flat + 1] = status
  flat[#flat + 1] = count
end
return {flat, unpack(found)}
