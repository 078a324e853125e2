-- Removes a step's worth of a queue's items: the first of those that are ready, or of those that are delayed. Of items
-- whose end is to be kept it is kept that they were cancelled.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, section ("ready" or "delayed"), entries at most (1-1000)
-- Reply    {entries passed, items removed, entries left}
-- Cost     O(entries * log n).
--- @include clock
--- @include records
--- @include events
--- @include standing
--- @include endings

local kind, queue, section, budget = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local tail = kind .. ':' .. queue
local set = P .. 'delayed:' .. tail
local list = P .. 'queue:' .. tail
local found
if section == 'ready' then
  found = redis.call('LPOP', list, budget) or {}
else
  found = redis.call('ZRANGE', set, 0, budget - 1)
end

local gone = {}
if #found > 0 then
  local records, runs = redis.call('HMGET', P .. 'item', unpack(found)), redis.call('HMGET', P .. 'run', unpack(found))
  local taken, stale = {}, 0
  for i, id in ipairs(found) do
    local run = runs[i] and parse_run(runs[i])
    if taken[id] or (section == 'ready' and not is_ready(id, records[i], run, tail)) then
      stale = stale + 1
    else
      taken[id] = true
      gone[#gone + 1] = id
      keep_end(id, run and run.spec or record_spec(records[i]), 'C', run and run.used or 0, '-')
    end
  end
  if #gone > 0 then
    call_many('HDEL', P .. 'item', gone)
    call_many('HDEL', P .. 'run', gone)
    call_many('HDEL', P .. 'error', gone)
  end
  if section == 'delayed' then
    call_many('ZREM', set, found)
  elseif stale > 0 then
    redis.call('HINCRBY', P .. 'stale:' .. kind, queue, -stale)
  end
end
if section == 'ready' and redis.call('EXISTS', list) == 0 then
  redis.call('ZREM', P .. 'ready:' .. kind, queue)
  redis.call('HDEL', P .. 'stale:' .. kind, queue)
end
return { #found, #gone, redis.call(section == 'ready' and 'LLEN' or 'ZCARD', section == 'ready' and list or set) }
