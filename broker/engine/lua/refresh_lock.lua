-- Starts the time of a held lock anew.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, name, owner, length in us ("" as before)
-- Reply    its end in us, or -1 if the owner does not hold it
-- Cost     O(log n).
--- @drains
--- @include clock
--- @include records
--- @include directory

local name, owner = ARGV[3], ARGV[4]
local held = get_entry('lock', name)
local length, holder = string.match(held or '', '^(%d+) (.*)$')
if holder ~= owner then
  return -1
end
length = tonumber(ARGV[5]) or tonumber(length)
put_entry('lock', name, int(length) .. ' ' .. owner, now + length)
return now + length
