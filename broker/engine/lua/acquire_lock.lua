-- Takes a lock, or starts its time anew for the owner that holds it.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, name, owner, length in us, locks at most (0: any number)
-- Reply    {1 taken or 0 held by another, owner that holds it, its end in us}, or a refusal (see include/quota.lua): so
--          many others are held
-- Cost     O(log n).
--- @include clock
--- @include records
--- @include directory
--- @include quota

local name, owner, length = ARGV[3], ARGV[4], tonumber(ARGV[5])
local held, ends = get_entry('lock', name)
-- Whose it is may not be readable: then it is another's.
local holder = held and (string.match(held, ' (.*)$') or '')
drop_ended('lock')
if holder and holder ~= owner then
  return { 0, holder, ends }
end
local most = tonumber(ARGV[6])
local held_now = not holder and most > 0 and live_entries('lock') or 0
if most > 0 and held_now >= most then
  return refusal('locks', most, held_now)
end
put_entry('lock', name, int(length) .. ' ' .. owner, now + length)
return { 1, owner, now + length }
