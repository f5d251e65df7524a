-- Whether the log of the server is to be written anew, since something was erased; if so, that counts as done.
-- milliseconds between two at least → 1, or 0
even_without_memory()
local seen = redis.call('HMGET', key('sums'), 'erased', 'rewritten')
local erased, rewritten = tonumber(seen[1] or 0), tonumber(seen[2] or 0)
if erased == 0 or erased < rewritten or now - rewritten < tonumber(ARGV[1]) then return 0 end
redis.call('HSET', key('sums'), 'rewritten', stamp(now))
return 1
