-- Looks at the items that are ready, without taking them.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, items wanted (1-1000), bytes wanted at most, bytes that the first item may have
--          instead (larger ones are passed), number of queues (0: all, by priority), their names
-- Reply    {ids, records}
-- Cost     O(items + queues looked at, at most 1,000, + entries passed, at most 3,000). Reads what it shows, what it
--          passes, and at most one item more. Changes nothing.
--- @include records
--- @include parked
--- @include weight
--- @include standing

local kind, wanted, room, most = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local queues = tonumber(ARGV[7])
local names = {}
if queues == 0 then
  -- More than wanted: the first ones may hold nothing but stale entries.
  names = redis.call('ZRANGE', P .. 'ready:' .. kind, 0, 999)
else
  for i = 1, queues do
    names[i] = ARGV[7 + i]
  end
end

-- Queues that hold nothing but parked items are in no index of ready ones.
local listed = {}
for _, queue in ipairs(names) do
  listed[queue] = true
end
for _, queue in ipairs(queues == 0 and open_parked_queues(kind) or {}) do
  if not listed[queue] then
    names[#names + 1] = queue
  end
end

local ids, records, seen = {}, {}, {}
local passed, full = 0, false
for _, queue in ipairs(names) do
  local tail, at = kind .. ':' .. queue, 0
  local parked, parked_count = parked_in(kind, queue)
  while #ids < wanted and not full and passed < 3000 do
    local slice
    if at < parked_count then
      slice = slice_of_parked(parked, at, 64)
    else
      slice = redis.call('LRANGE', P .. 'queue:' .. tail, at - parked_count, at - parked_count + 63)
    end
    if #slice == 0 then
      break
    end
    local last = last_to_read(slice, 1, room)
    at, passed = at + last, passed + last
    local found = redis.call('HMGET', P .. 'item', unpack(slice, 1, last))
    local runs = redis.call('HMGET', P .. 'run', unpack(slice, 1, last))
    for i, record in ipairs(found) do
      local id = slice[i]
      local run = runs[i] and parse_run(runs[i])
      if not seen[id] and #ids < wanted and not full and is_ready(id, record, run, tail) then
        seen[id] = true
        local size = weight(id, record, '')
        if size <= room or (#ids == 0 and size <= most) then
          room = room - size
          ids[#ids + 1] = id
          records[#records + 1] = record
        else
          full = size <= most
        end
      end
    end
  end
end
return { ids, records }
