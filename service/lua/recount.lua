-- Adds up again what ids hold of the store, and drops those that no promise of erasure stands for.
-- nothing → bytes by which the sum was wrong
even_without_memory()
local held, store, room = redis.call('HGETALL', key('stored')), 0, 0
local before = sum('store')
for at = 1, #held, 2 do
  if redis.call('ZSCORE', key('due'), held[at]) then store = store + held[at + 1] else drop_store(held[at]) end
end
local kept = redis.call('HGETALL', key('room'))
for at = 1, #kept, 2 do room = room + kept[at + 1] end
redis.call('DEL', key('held'))
local payers = redis.call('HGETALL', key('payers'))
for at = 1, #payers, 2 do
  redis.call('HINCRBY', key('held'), payers[at + 1], redis.call('HGET', key('stored'), payers[at]) or 0)
end
redis.call('HSET', key('sums'), 'store', stamp(store), 'room', stamp(room))
return before - store
