-- Which ids have no business in the store: everything that is written there is due before it is written, and until it is erased.
-- ids → {those of which nothing is known, those that were erased}
local unknown, erased = {}, {}
for _, id in ipairs(ARGV) do
  local status = redis.call('HGET', job(id), 'status')
  if status == 'canceled' or status == 'expired' then
    erased[#erased + 1] = id
  elseif not status and not redis.call('ZSCORE', key('due'), id) then
    unknown[#unknown + 1] = id
  end
end
return {unknown, erased}
