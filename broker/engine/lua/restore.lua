-- Puts back items that were leased at most once and never left the broker, at the head of their queues or delayed.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, name of the call ("" none: not to be repeated), ms that it is remembered, delay in us (0
--          none), number of items (1-1000), then for each
--          id, record, deliveries before the one that is undone, deliveries it may have, last error ("" none)
-- Reply    {next due time in us or -1, number of items put back}; one whose id is in use again is left out, and so is all
--          that an earlier call of that name has put back
-- Cost     O(1) an item, O(log n) a delayed one.
--- @drains
--- @include clock
--- @include records
--- @include expiring
--- @include queues
--- @include bytes

local name, keep_ms, delay, count = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
if count == 0 or (name ~= '' and redis.call('EXISTS', P .. 'restored:' .. name) == 1) then
  return { -1, 0 }
end

-- Read first: whose id is in use again, what the records say.
local items, ids, end_keys = {}, {}, {}
for i = 1, count do
  local base = i * 5 + 2
  items[i] = {
    id = ARGV[base], record = ARGV[base + 1], used = tonumber(ARGV[base + 2]), attempts = tonumber(ARGV[base + 3]),
    failure = ARGV[base + 4], spec = record_spec(ARGV[base + 1]),
  }
  ids[i], end_keys[i] = ARGV[base], P .. 'end:' .. ARGV[base]
end
local known = redis.call('HMGET', P .. 'item', unpack(ids))
local any_ends = redis.call('EXISTS', unpack(end_keys)) > 0
local put_back = {}

local function is_free(i)
  return not (known[i] or put_back[ids[i]] or (any_ends and redis.call('EXISTS', end_keys[i]) == 1))
end

-- Then write.
if name ~= '' then
  redis.call('SET', P .. 'restored:' .. name, '', 'PX', keep_ms)
end
local groups, order, restored = {}, {}, 0
for i, item in ipairs(items) do
  local spec = item.spec
  if spec and is_free(i) then
    put_back[item.id] = true
    put_items({ item.id, item.record })
    note_waiting(spec, item.id)
    if item.used > 0 then
      -- Delivered before at least once, and only this time at most once. Its earlier tokens stay superseded.
      redis.call('HSET', P .. 'run', item.id, format_run({
        state = 'W', token = 0, used = item.used, attempts = item.attempts, lease = 0, deadline = 0, cancel = false,
        spec = spec,
      }))
      if item.failure ~= '' then
        redis.call('HSET', P .. 'error', item.id, item.failure)
      end
    end
    local group = groups[spec.tail]
    if not group then
      group = { spec = spec }
      groups[spec.tail] = group
      order[#order + 1] = group
    end
    group[#group + 1] = item.id
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
return { next_due(), restored }
