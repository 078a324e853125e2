-- Puts back items that were leased at most once and never left the broker, at the head of their queues.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of items (1-1000), then for each id, record
-- Reply    number of items put back; one whose id is in use again is left out
-- Cost     O(1) an item.
--- @include clock
--- @include records
--- @include events
--- @include queues

local groups, order, restored = {}, {}, 0
for i = 1, tonumber(ARGV[3]) do
  local id, record = ARGV[2 + i * 2], ARGV[3 + i * 2]
  if redis.call('HSETNX', P .. 'item', id, record) == 1 then
    local spec = record_spec(record)
    local group = groups[spec.tail]
    if not group then
      group = { spec = spec }
      groups[spec.tail] = group
      order[#order + 1] = group
    end
    group[#group + 1] = id
    restored = restored + 1
  end
end
for _, group in ipairs(order) do
  push_ready(group.spec, group, true)
end
return restored
