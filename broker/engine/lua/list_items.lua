-- Lists items of a queue or of a dead-letter queue, from a position on. Changes nothing.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, section ("ready", "delayed", "leased" or "dead"), position of the first
--          (from 0), entries to look at (1-1000), bytes of each body at most, bytes in all at most, bytes that
--          the first item may have instead (0: no more than that; what is larger comes without its body)
-- Reply    {known (1 or 0), now in us, position to go on at (-1 the end), ids, records, deliveries, 1 for each that
--          somebody cancelled else 0, last errors ("" none), times in us: due, end of the lease, or death ("" ready)}
--          Stale entries are passed; so may the end of the queue be reached without an item.
-- Cost     O(log n + entries). Reads at most 4 MiB and one item.
--- @include clock
--- @include records
--- @include weight
--- @include standing

local kind, queue, section = ARGV[3], ARGV[4], ARGV[5]
local at, left, cut, room = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9])
local most = tonumber(ARGV[10])
local tail = kind .. ':' .. queue
local key = P .. (section == 'ready' and 'queue' or section) .. ':' .. tail
local known = section == 'dead' or is_known(kind, queue)
local ids, records, deliveries, cancelled, errors, times = {}, {}, {}, {}, {}, {}
local unread, full = 4 * 1024 * 1024, false

-- Entries from a position on, with their times.
local function slice(first, count)
  if section == 'ready' then
    return redis.call('LRANGE', key, first, first + count - 1), {}
  end
  local found, scores = {}, {}
  for i, part in ipairs(redis.call('ZRANGE', key, first, first + count - 1, 'WITHSCORES')) do
    if i % 2 == 1 then
      found[#found + 1] = part
    else
      scores[#scores + 1] = int(tonumber(part))
    end
  end
  return found, scores
end

local function add(id, record, run, time)
  local head = string.find(record, '\n', 1, true)
  local failure = run and redis.call('HGET', P .. 'error', id) or ''
  local short = string.sub(record, 1, head + cut)
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
  errors[n], times[n] = failure, time or ''
  return true
end

while left > 0 and not full do
  local found, scores = slice(at, math.min(left, 16))
  if #found == 0 then
    at = -1
    break
  end
  local contents, runs = redis.call('HMGET', P .. 'item', unpack(found)), redis.call('HMGET', P .. 'run', unpack(found))
  for i, id in ipairs(found) do
    local record, run = contents[i], runs[i] and parse_run(runs[i])
    if record and (section ~= 'ready' or is_ready(id, record, run, tail)) and not add(id, record, run, scores[i]) then
      full = true
      break
    end
    at, left, unread = at + 1, left - 1, unread - (record and #record or 0)
  end
  full = full or unread <= 0
end
return { known and 1 or 0, now, at, ids, records, deliveries, cancelled, errors, times }
