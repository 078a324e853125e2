-- Removes a step's worth of a queue's items: the first of those that are ready, parked or delayed. Of items
-- whose end is to be kept it is kept that they were cancelled. What cannot be read is removed as well, unless it is set
-- aside.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, section ("ready", "parked" or "delayed"), entries at most (1-1000)
-- Reply    {entries passed, items removed, entries left}
-- Cost     O(entries * log n). Reads at most 4 MiB and sixteen items.
--- @drains
--- @include records
--- @include events
--- @include aside
--- @include parked
--- @include standing
--- @include endings
--- @include unreadable
--- @include bytes

local kind, queue, section, budget = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local tail = kind .. ':' .. queue
local parked = parked_in(kind, queue)
local set = P .. 'delayed:' .. tail
if section == 'parked' then
  set = parked[1] and parked[1].key or ''
end
local list = P .. 'queue:' .. tail
local passed, stale, unread = 0, 0, 4 * 1024 * 1024
local gone, seen = {}, {}

-- Whether an entry of the list leads to an item that stands there, though it cannot be read: anything else that holds it
-- says where it stands.
local function is_unreadable_here(id, run, place)
  return not (run and run.state ~= 'W' and run.state ~= '?') and not (place and place.tail ~= tail)
    and not redis.call('ZSCORE', P .. 'delayed:' .. tail, id) and not redis.call('ZSCORE', P .. 'leased:' .. tail, id)
    and not (place and place.dead and redis.call('ZSCORE', P .. 'dead:' .. kind .. ':' .. place.dead, id))
end

-- Whether an entry leads to an item that is to be removed.
local function stands_here(id, record, run, place)
  if not record or why_aside(id) then
    return false
  elseif section ~= 'ready' then
    return true
  elseif record_spec(record) and run ~= UNREADABLE then
    return is_ready(id, record, run, tail)
  end
  return is_unreadable_here(id, run, place)
end

while passed < budget and unread > 0 do
  local last = passed + math.min(budget - passed, 16) - 1
  local found = section == 'ready' and redis.call('LRANGE', list, passed, last) or redis.call('ZRANGE', set, passed, last)
  if #found == 0 then
    break
  end
  passed = passed + #found
  local records, runs = redis.call('HMGET', P .. 'item', unpack(found)), redis.call('HMGET', P .. 'run', unpack(found))
  for i, id in ipairs(found) do
    local record, run = records[i], runs[i] and parse_run(runs[i]) or nil
    unread = unread - (record and #record or 0)
    local place = place_of(record, run)
    if seen[id] or not stands_here(id, record, run, place) then
      stale = stale + 1
    else
      seen[id] = true
      gone[#gone + 1] = { id = id, spec = place, used = run and run.used or 0 }
    end
  end
end

local ids = {}
for i, item in ipairs(gone) do
  ids[i] = item.id
  if item.spec and item.spec.expires then
    redis.call('ZREM', P .. 'expiring:' .. item.spec.tail, item.id)
  end
  if item.spec then
    keep_end(item.id, item.spec, 'C', item.used, '-')
  else
    changed(item.id)
  end
end
drop_items(ids)
for _, name in ipairs({ 'run', 'error', 'trouble' }) do
  call_many('HDEL', P .. name, ids)
end
if section ~= 'ready' and passed > 0 then
  redis.call('ZREMRANGEBYRANK', set, 0, passed - 1)
end
if section == 'parked' then
  if parked[1] then
    unpark_if_empty(kind, queue, parked[1].task)
  end
  local _, left = parked_in(kind, queue)
  return { passed, #gone, left }
elseif section == 'delayed' then
  return { passed, #gone, redis.call('ZCARD', set) }
end
redis.call('LTRIM', list, passed, -1)
if stale > 0 then
  redis.call('HINCRBY', P .. 'stale:' .. kind, queue, -stale)
end
if redis.call('EXISTS', list) == 0 then
  redis.call('ZREM', P .. 'ready:' .. kind, queue)
  redis.call('HDEL', P .. 'stale:' .. kind, queue)
end
return { passed, #gone, redis.call('LLEN', list) }
