-- Puts back items that were leased at most once and never left the broker, at the head of their queues.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of items (1-1000), then for each
--          id, record, deliveries before the one that is undone, deliveries it may have, last error ("" none)
-- Reply    number of items put back; one whose id is in use again is left out
-- Cost     O(1) an item.
--- @include clock
--- @include records
--- @include events
--- @include queues

local groups, order, restored = {}, {}, 0
for i = 1, tonumber(ARGV[3]) do
  local base = i * 5 - 1
  local id, record, used, attempts, failure = ARGV[base], ARGV[base + 1], tonumber(ARGV[base + 2]),
    tonumber(ARGV[base + 3]), ARGV[base + 4]
  if redis.call('EXISTS', P .. 'end:' .. id) == 0 and redis.call('HSETNX', P .. 'item', id, record) == 1 then
    local spec = record_spec(record)
    if used > 0 then
      -- Delivered before at least once, and only this time at most once. Its earlier tokens stay superseded.
      redis.call('HSET', P .. 'run', id, format_run({
        state = 'W', token = 0, used = used, attempts = attempts, lease = 0, deadline = 0, cancel = false, spec = spec,
      }))
      if failure ~= '' then
        redis.call('HSET', P .. 'error', id, failure)
      end
    end
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
