-- Removes a step's worth of a queue's items: the first of those that are ready, or of those that are delayed. Of items
-- whose end is to be kept it is kept that they were cancelled.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, section ("ready" or "delayed"), entries at most (1-1000)
-- Reply    {entries passed, items removed, entries left}
-- Cost     O(entries * log n). Reads at most 4 MiB and sixteen items.
--- @include clock
--- @include records
--- @include events
--- @include standing
--- @include endings

local kind, queue, section, budget = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local tail = kind .. ':' .. queue
local set = P .. 'delayed:' .. tail
local list = P .. 'queue:' .. tail
local passed, stale, unread = 0, 0, 4 * 1024 * 1024
local gone, taken = {}, {}

-- The next few entries, which are taken out of the list or the set.
local function next_entries(count)
  if section == 'ready' then
    return redis.call('LPOP', list, count) or {}
  end
  local ids = redis.call('ZRANGE', set, 0, count - 1)
  if #ids > 0 then
    redis.call('ZREM', set, unpack(ids))
  end
  return ids
end

while passed < budget and unread > 0 do
  local found = next_entries(math.min(budget - passed, 16))
  if #found == 0 then
    break
  end
  passed = passed + #found
  local records, runs = redis.call('HMGET', P .. 'item', unpack(found)), redis.call('HMGET', P .. 'run', unpack(found))
  for i, id in ipairs(found) do
    local record, run = records[i], runs[i] and parse_run(runs[i])
    unread = unread - (record and #record or 0)
    if taken[id] or (section == 'ready' and not is_ready(id, record, run, tail)) then
      stale = stale + 1
    else
      taken[id] = true
      gone[#gone + 1] = id
      keep_end(id, run and run.spec or record_spec(record), 'C', run and run.used or 0, '-')
    end
  end
end
if #gone > 0 then
  call_many('HDEL', P .. 'item', gone)
  call_many('HDEL', P .. 'run', gone)
  call_many('HDEL', P .. 'error', gone)
end
if section == 'delayed' then
  return { passed, #gone, redis.call('ZCARD', set) }
end
if stale > 0 then
  redis.call('HINCRBY', P .. 'stale:' .. kind, queue, -stale)
end
if redis.call('EXISTS', list) == 0 then
  redis.call('ZREM', P .. 'ready:' .. kind, queue)
  redis.call('HDEL', P .. 'stale:' .. kind, queue)
end
return { passed, #gone, redis.call('LLEN', list) }
