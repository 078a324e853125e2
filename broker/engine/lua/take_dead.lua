-- Removes dead letters and hands them out, the oldest death first.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, dead-letter queue, items wanted (1-1000), bytes wanted at most, note hunger (1 or 0)
-- Reply    {now in us, ids, records, deliveries, last errors, times of death in us}
--          If nothing came out and it was asked for, hunger is noted.
-- Cost     O(log n) an item.
--- @include clock
--- @include records
--- @include events
--- @include dead

local kind, dead_queue, wanted, room = ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local set = P .. 'dead:' .. kind .. ':' .. dead_queue
local ids, records, deliveries, errors, times = {}, {}, {}, {}, {}
local full = false
while #ids < wanted and not full do
  local found = redis.call('ZRANGE', set, 0, math.min(wanted - #ids, 16) - 1, 'WITHSCORES')
  if #found == 0 then
    break
  end
  for i = 1, #found, 2 do
    local id = found[i]
    local record = redis.call('HGET', P .. 'item', id)
    if #ids > 0 and #record > room then
      full = true
      break
    end
    room = room - #record
    local run = parse_run(redis.call('HGET', P .. 'run', id))
    local n = #ids + 1
    ids[n], records[n], deliveries[n], times[n] = id, record, run.used, int(tonumber(found[i + 1]))
    errors[n] = redis.call('HGET', P .. 'error', id) or ''
    leave_dead(run.spec, { id })
    redis.call('HDEL', P .. 'item', id)
    redis.call('HDEL', P .. 'run', id)
    redis.call('HDEL', P .. 'error', id)
    changed(id)
  end
end
if #ids == 0 and ARGV[7] == '1' then
  redis.call('SADD', P .. 'hungry:x' .. kind, dead_queue)
end
return { now, ids, records, deliveries, errors, times }
