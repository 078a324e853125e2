-- Sends dead letters back to the ends of the queues that they came from, as new: with all their attempts, without
-- their error. Those of which it cannot be read how they were delivered are set aside.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     see include/dead_choice.lua
-- Reply    see include/dead_choice.lua
-- Cost     O(log n) an item.
--- @drains
--- @include bytes
--- @include clock
--- @include records
--- @include events
--- @include expiring
--- @include queues
--- @include dead
--- @include dead_aside
--- @include dead_choice

local groups, ids, unreadable = chosen_groups()
if not groups then
  return { now, 0, 0, ids }
end
for _, id in ipairs(unreadable) do
  set_dead_aside(id, kind, dead_queue, redis.call('HGET', P .. 'item', id))
end
for _, group in ipairs(groups) do
  leave_dead(group.spec, group)
  -- Their earlier tokens stay superseded: they have no run, but are there.
  call_many('HDEL', P .. 'run', group)
  call_many('HDEL', P .. 'error', group)
  call_many('HDEL', P .. 'trouble', group)
  -- The queue may have been deleted since.
  redis.call('HINCRBY', P .. 'seen:' .. kind, group.spec.queue, 0)
  if group.spec.expires then
    -- They wait anew.
    for _, id in ipairs(group) do
      local record = redis.call('HGET', P .. 'item', id)
      if record then
        put_items({ id, (string.gsub(record, '^(%d+) %d+ ', '%1 ' .. int(now) .. ' ', 1)) })
        note_expiring(group.spec, id, now + group.spec.expires)
      end
    end
  end
  push_ready(group.spec, group)
end
for _, id in ipairs(ids) do
  changed(id)
end
return { now, #ids - #unreadable, dead_left(), '' }
