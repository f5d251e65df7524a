-- Whether an attempt is still the job's.
-- id, attempt → 1, or 0 where the attempt is stale
return is_held(ARGV[1], ARGV[2]) and 1 or 0
