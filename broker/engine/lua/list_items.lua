-- Lists items of a queue or of a dead-letter queue, from a position on. Changes nothing.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, section ("ready", "delayed", "leased", "dead" or "aside"), position of the
--          first (from 0), entries to look at (1-1000), bytes of each body at most, bytes in all at most, bytes that
--          the first item may have instead (0: no more than that; what is larger comes without its body)
-- Reply    {known (1 or 0), now in us, position to go on at (-1 the end), ids, records ("" one that cannot be read),
--          deliveries, 1 for each that somebody cancelled else 0, last errors ("" none; why an item is set aside), times
--          in us: due, end of the lease, death, or when it was set aside ("" ready), 1 for each that its worker has not
--          begun else 0}
--          Stale entries are passed; so may the end of the queue be reached without an item. Parked items come before the
--          others that are ready, task by task.
-- Cost     O(log n + entries). Reads at most 4 MiB and one item.
--- @include clock
--- @include records
--- @include weight
--- @include leased
--- @include aside
--- @include parked
--- @include standing

local kind, queue, section = ARGV[3], ARGV[4], ARGV[5]
local at, left, cut, room = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local most = tonumber(ARGV[10])
local tail = kind .. ':' .. queue
local key = P .. (section == 'ready' and 'queue' or section) .. ':' .. tail
local known = section == 'dead' or is_known(kind, queue)
local ids, records, deliveries, cancelled, errors, times, unbegun = {}, {}, {}, {}, {}, {}, {}
local unread, full = 4 * 1024 * 1024, false
local parked, parked_count = parked_in(kind, queue)
-- Leases stand together: a position is that of an entry, times this, plus the place in the share. More than one holds.
local PLACES = 4096

-- Each slice: ids, their times, and the positions behind each.

local function slice_of_ready(first, count)
  local found
  if first < parked_count then
    found = slice_of_parked(parked, first, count)
  else
    found = redis.call('LRANGE', key, first - parked_count, first - parked_count + count - 1)
  end
  local behind = {}
  for i = 1, #found do
    behind[i] = first + i
  end
  return found, {}, behind
end

local function slice_of_set(first, count)
  local found, scores, behind = {}, {}, {}
  local parts = redis.call('ZRANGE', key, first, first + count - 1, 'WITHSCORES')
  for i = 1, #parts, 2 do
    local n = #found + 1
    found[n], scores[n], behind[n] = parts[i], int(tonumber(parts[i + 1])), first + n
  end
  return found, scores, behind
end

-- Those of one entry; its end is passed by a position behind its last place.
local function slice_of_leased(first, count)
  local index, place = math.floor(first / PLACES), first % PLACES
  local entry = redis.call('ZRANGE', key, index, index, 'WITHSCORES')
  if not entry[1] then
    return {}, {}, {}
  end
  local ids_here = ids_of_entry(tail, entry[1])
  local found, scores, behind = {}, {}, {}
  for n = place + 1, math.min(place + count, #ids_here) do
    found[#found + 1], scores[#scores + 1] = ids_here[n], int(tonumber(entry[2]))
    behind[#behind + 1] = n == #ids_here and (index + 1) * PLACES or index * PLACES + n
  end
  return found, scores, behind
end

local slice = section == 'ready' and slice_of_ready or section == 'leased' and slice_of_leased or slice_of_set

-- Whether an entry leads to an item that stands in this section.
local function stands_here(id, record, run, time)
  if section == 'ready' then
    return is_ready(id, record, run, tail)
  elseif section == 'leased' and run and run ~= UNREADABLE then
    -- Of leases that stand together some have ended.
    return (run.state == 'L' or run.state == 'O') and int(run.deadline) == time
  end
  return section ~= 'leased' or run == UNREADABLE
end

local function last_error(id, run)
  if section == 'aside' then
    return string.match(why_aside(id) or '', '^%S+ %S+ (.*)$') or ''
  end
  return run and redis.call('HGET', P .. 'error', id) or ''
end

local function add(id, record, run, time)
  local head = record_spec(record) and string.find(record, '\n', 1, true)
  local short = head and string.sub(record, 1, head + cut) or ''
  local failure = last_error(id, run)
  local size = weight(id, short, failure)
  if size > room and not (#ids == 0 and most > 0) then
    return false
  end
  if size > math.max(room, most) then
    short, failure = string.sub(record, 1, head), ''
    size = weight(id, short, failure)
  end
  room = room - size
  local n = #ids + 1
  ids[n], records[n], deliveries[n], cancelled[n] = id, short, run and run.used or 0, run and run.cancel and 1 or 0
  errors[n], times[n], unbegun[n] = failure, time or '', run and run.unbegun and 1 or 0
  return true
end

while left > 0 and not full do
  local found, scores, behind = slice(at, math.min(left, 16))
  if #found == 0 then
    at = -1
    break
  end
  local last = last_to_read(found, 1, unread)
  local contents = redis.call('HMGET', P .. 'item', unpack(found, 1, last))
  local runs = redis.call('HMGET', P .. 'run', unpack(found, 1, last))
  for i, record in ipairs(contents) do
    local id, run = found[i], runs[i] and parse_run(runs[i]) or nil
    if record and stands_here(id, record, run, scores[i]) and not add(id, record, run, scores[i]) then
      full = true
      break
    end
    at, left, unread = behind[i], left - 1, unread - (record and #record or 0)
  end
  full = full or unread <= 0
end
return { known and 1 or 0, now, at, ids, records, deliveries, cancelled, errors, times, unbegun }
