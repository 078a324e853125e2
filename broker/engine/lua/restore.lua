-- Puts back items that were leased at most once and never left the broker, at the head of their queues or delayed.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, name of the call ("" none: not to be repeated), ms that it is remembered, delay in us (0
--          none), number of items (1-1000), then for each
--          id, record, deliveries before the one that is undone, deliveries it may have, last error ("" none)
-- Reply    {next due time in us or -1, number of items put back}; one whose id is in use again is left out
-- Cost     O(1) an item, O(log n) a delayed one.
--- @include clock
--- @include records
--- @include events
--- @include queues

if ARGV[3] ~= '' and not redis.call('SET', P .. 'restored:' .. ARGV[3], '', 'NX', 'PX', ARGV[4]) then
  return { -1, 0 }
end
local delay = tonumber(ARGV[5])
local groups, order, restored = {}, {}, 0
for i = 1, tonumber(ARGV[6]) do
  local base = i * 5 + 2
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
  -- They had been counted as done, and their queue may have been deleted since.
  redis.call('HINCRBY', P .. 'done:' .. group.spec.kind, group.spec.queue, -#group)
  redis.call('HINCRBY', P .. 'seen:' .. group.spec.kind, group.spec.queue, 0)
  if delay > 0 then
    for _, id in ipairs(group) do
      push_delayed(group.spec, id, now + delay)
    end
  else
    push_ready(group.spec, group, true)
  end
end
return { delay > 0 and next_due() or -1, restored }
