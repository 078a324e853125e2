-- Sends items that were set aside back to the ends of their queues, as new: with all their attempts, without their error.
-- What still cannot be read is set aside again by whoever comes to it.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, items at most (1-1000), number of ids (0: the first that were set aside), ids
-- Reply    {items sent back, items left, ""}, or if one of the ids was not set aside {0, 0, that id}, having done nothing
-- Cost     O(log n) an item.
--- @drains
--- @include records
--- @include events
--- @include queues
--- @include expiring
--- @include aside

local kind, queue, budget = ARGV[3], ARGV[4], tonumber(ARGV[5])
local here = { kind = kind, queue = queue, tail = kind .. ':' .. queue }
local set = P .. 'aside:' .. here.tail
local ids, seen = {}, {}
for i = 1, tonumber(ARGV[6]) do
  local id = ARGV[6 + i]
  if not redis.call('ZSCORE', set, id) then
    return { 0, 0, id }
  end
  if not seen[id] then
    seen[id] = true
    ids[#ids + 1] = id
  end
end
if ARGV[6] == '0' then
  ids = redis.call('ZRANGE', set, 0, budget - 1)
end

-- By the queue that each belongs to: its record may be readable by now and name another one.
local groups, order, back = {}, {}, {}
for _, id in ipairs(ids) do
  local record = redis.call('HGET', P .. 'item', id)
  -- A broker of an earlier version may have removed it.
  if record then
    local spec = record_spec(record) or here
    local group = groups[spec.tail]
    if not group then
      group = { spec = spec }
      groups[spec.tail] = group
      order[#order + 1] = group
    end
    group[#group + 1] = id
    back[#back + 1] = id
    note_waiting(spec, id)
  end
end

for _, id in ipairs(ids) do
  leave_aside(id)
end
-- Should the note of one be missing, it must not stand here for ever.
call_many('ZREM', set, ids)
for _, name in ipairs({ 'run', 'error', 'trouble' }) do
  call_many('HDEL', P .. name, ids)
end
for _, group in ipairs(order) do
  -- The queue may have been deleted since.
  redis.call('HINCRBY', P .. 'seen:' .. group.spec.kind, group.spec.queue, 0)
  push_ready(group.spec, group)
end
for _, id in ipairs(back) do
  changed(id)
end
return { #back, redis.call('ZCARD', set), '' }
