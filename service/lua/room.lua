-- Whether there is room for a photo now; nothing is taken.
-- as `reserve`, from the bytes of the photo on → {1}, or {what `lacks_room` says, milliseconds until something is erased}
local lack = lacks_room(tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5], tonumber(ARGV[6]))
if lack then return {lack, first_due()} end
return {1}
