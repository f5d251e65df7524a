-- How a batch stands.
-- id → {now, status, created, expires, owner, hash of its secret, options}; empty where there is none
local seen = redis.call('HMGET', batch(ARGV[1]), 'status', 'created', 'expires', 'owner', 'secret')
if not seen[1] then return {} end
return {now, seen[1], seen[2], seen[3], seen[4], seen[5], redis.call('HGET', batch(ARGV[1]) .. ':order', 'options') or '{}'}
