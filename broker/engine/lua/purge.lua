-- Removes dead letters for good.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     see include/dead_choice.lua
-- Reply    see include/dead_choice.lua
-- Cost     O(log n) an item.
--- @drains
--- @include clock
--- @include records
--- @include events
--- @include dead
--- @include unreadable
--- @include dead_choice
--- @include bytes

local groups, ids, unreadable = chosen_groups()
if not groups then
  return { now, 0, 0, ids }
end
for _, id in ipairs(unreadable) do
  local place = place_of(redis.call('HGET', P .. 'item', id))
  leave_dead({ kind = kind, dead = dead_queue, queue = place and place.queue }, { id })
end
for _, group in ipairs(groups) do
  leave_dead(group.spec, group)
end
drop_items(ids)
for _, name in ipairs({ 'run', 'error', 'trouble' }) do
  call_many('HDEL', P .. name, ids)
end
for _, id in ipairs(ids) do
  changed(id)
end
return { now, #ids, dead_left(), '' }
