-- Frees a lock.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, name, owner
-- Reply    1, or 0 if the owner does not hold it
-- Cost     O(log n).
--- @drains
--- @include directory

local held = get_entry('lock', ARGV[3])
if not held or string.match(held, ' (.*)$') ~= ARGV[4] then
  return 0
end
drop_entries('lock', { ARGV[3] })
return 1
