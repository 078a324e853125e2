-- Sends items that were set aside back to the end of their queue, as new: with all their attempts, without their error.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, items at most (1-1000), number of ids (0: the first that were set aside), ids
-- Reply    {items sent back, items left, ""}, or if one of the ids was not set aside {0, 0, that id}, having done nothing
-- Cost     O(log n) an item.
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include aside

local kind, queue, budget = ARGV[3], ARGV[4], tonumber(ARGV[5])
local tail = kind .. ':' .. queue
local set = P .. 'aside:' .. tail
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
if #ids > 0 then
  for _, id in ipairs(ids) do
    leave_aside(id)
  end
  call_many('HDEL', P .. 'run', ids)
  call_many('HDEL', P .. 'error', ids)
  call_many('HDEL', P .. 'trouble', ids)
  push_ready({ kind = kind, queue = queue, tail = tail }, ids)
  for _, id in ipairs(ids) do
    changed(id)
  end
end
return { #ids, redis.call('ZCARD', set), '' }
