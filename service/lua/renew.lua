-- Lengthens the lease.
-- id, attempt, lease, lease per megapixel → 1, or 0 where the attempt is stale
even_without_memory()
if not is_held(ARGV[1], ARGV[2]) then return 0 end
lease(ARGV[1], ARGV[3], ARGV[4])
return 1
