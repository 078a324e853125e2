-- Removes dead letters and hands them out, the oldest death first.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, dead-letter queue, items wanted (1-1000), bytes wanted at most, note hunger (1 or 0)
-- Reply    {now in us, ids, records, deliveries, last errors, times of death in us}
--          If nothing came out and it was asked for, hunger is noted. What cannot be read is set aside.
-- Cost     O(log n) an item.
--- @include clock
--- @include records
--- @include events
--- @include dead
--- @include aside
--- @include unreadable
--- @include dead_aside

local kind, dead_queue, wanted, room = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local set = P .. 'dead:' .. kind .. ':' .. dead_queue
local ids, records, deliveries, errors, times = {}, {}, {}, {}, {}
local full, passed = false, 0
while #ids < wanted and passed < 1000 and not full do
  local found = redis.call('ZRANGE', set, 0, math.min(wanted - #ids, 16) - 1, 'WITHSCORES')
  if #found == 0 then
    break
  end
  for i = 1, #found, 2 do
    local id = found[i]
    local record, text = redis.call('HGET', P .. 'item', id), redis.call('HGET', P .. 'run', id)
    local run = text and parse_run(text) or UNREADABLE
    if not (record and record_spec(record) and run.spec) then
      passed = passed + 1
      set_dead_aside(id, kind, dead_queue, record, run)
    elseif #ids > 0 and #record > room then
      full = true
      break
    else
      room = room - #record
      local n = #ids + 1
      ids[n], records[n], deliveries[n], times[n] = id, record, run.used, int(tonumber(found[i + 1]))
      errors[n] = redis.call('HGET', P .. 'error', id) or ''
      leave_dead(run.spec, { id })
      redis.call('HDEL', P .. 'item', id)
      redis.call('HDEL', P .. 'run', id)
      redis.call('HDEL', P .. 'error', id)
      redis.call('HDEL', P .. 'trouble', id)
      changed(id)
    end
  end
end
if #ids == 0 and ARGV[7] == '1' then
  redis.call('SADD', P .. 'hungry:x' .. kind, dead_queue)
end
return { now, ids, records, deliveries, errors, times }
