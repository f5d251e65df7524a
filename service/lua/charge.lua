-- Takes a photo off a quota.
-- who, megapixels a minute, pixels, token → {milliseconds until there is room for it, or 0; what is left; milliseconds until more is; its cost}
return {charge_quota(ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4])}
