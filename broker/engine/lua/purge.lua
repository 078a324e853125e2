-- Removes dead letters for good.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     see include/dead_choice.lua
-- Reply    see include/dead_choice.lua
-- Cost     O(log n) an item.
--- @include clock
--- @include records
--- @include events
--- @include dead
--- @include dead_choice

local groups, ids = chosen_groups()
if not groups then
  return { now, 0, 0, ids }
end
for _, group in ipairs(groups) do
  leave_dead(group.spec, group)
  call_many('HDEL', P .. 'item', group)
  call_many('HDEL', P .. 'run', group)
  call_many('HDEL', P .. 'error', group)
end
for _, id in ipairs(ids) do
  changed(id)
end
return { now, #ids, dead_left(), '' }
