-- Removes dead letters and hands them out, the oldest death first. The answer to a request that has an id is kept until
-- it is confirmed or its time is up; the same request again gets the same answer, and after that nothing any more. So
-- does a request for another queue that has the id of one.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, dead-letter queue, items wanted (0-1000; 0: only confirm), bytes wanted at most,
--          bytes that the first item may have instead, note hunger (1 or 0), id of the request ("" none), ms that its
--          answer is kept, id of a request whose answer has arrived ("" none)
-- Reply    {now in us, over (1: the request was confirmed, so nothing comes any more), ids, records, deliveries, last
--          errors, times of death in us}
--          If nothing came out and it was asked for, hunger is noted.
-- Cost     O(log n) an item. Letters that cannot be read, or are larger than any message, are set aside, at most 1,000.
--- @drains
--- @include clock
--- @include records
--- @include weight
--- @include events
--- @include dead
--- @include aside
--- @include dead_aside
--- @include bytes

local kind, dead_queue, wanted, room, most =
  ARGV[3], ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local notes_hunger, request, keep_ms, received = ARGV[8] == '1', ARGV[9], ARGV[10], ARGV[11]
local set = P .. 'dead:' .. kind .. ':' .. dead_queue

-- What is kept of an answer: <id> <record> <deliveries> <error> <time> of each letter, then the queue that they came
-- from (earlier versions do not say it); once it is confirmed, "" alone.
local function kept_key(id)
  return P .. 'taken:' .. id
end

-- Whether an answer came from another queue: whoever may take from this one need not see it.
local here = kind .. ':' .. dead_queue
local function is_elsewhere(length, last)
  return length > 1 and length % 5 == 1 and last ~= here
end

if received ~= '' and redis.call('EXISTS', kept_key(received)) == 1
  and not is_elsewhere(redis.call('LLEN', kept_key(received)), redis.call('LRANGE', kept_key(received), -1, -1)[1]) then
  redis.call('UNLINK', kept_key(received))
  redis.call('RPUSH', kept_key(received), '')
  redis.call('PEXPIRE', kept_key(received), keep_ms)
end
local kept = request ~= '' and redis.call('LRANGE', kept_key(request), 0, -1) or {}
if is_elsewhere(#kept, kept[#kept]) then
  return { now, 1, {}, {}, {}, {}, {} }
end
if #kept > 0 then
  local columns = { {}, {}, {}, {}, {} }
  for i = 1, #kept - 4, 5 do
    for column = 1, 5 do
      local part = kept[i + column - 1]
      table.insert(columns[column], column == 3 and tonumber(part) or part)
    end
  end
  return { now, #kept == 1 and 1 or 0, unpack(columns) }
end

-- First everything is read.
local letters, groups, aside = {}, {}, {}
local at, full = 0, wanted == 0
while #letters < wanted and #aside < 1000 and not full do
  local found = redis.call('ZRANGE', set, at, at + math.min(wanted - #letters, 16) - 1, 'WITHSCORES')
  if #found == 0 then
    break
  end
  at = at + #found / 2
  for i = 1, #found, 2 do
    local id = found[i]
    local record, text = redis.call('HGET', P .. 'item', id), redis.call('HGET', P .. 'run', id)
    local spec, run = record and record_spec(record), text and parse_run(text) or UNREADABLE
    local failure = redis.call('HGET', P .. 'error', id) or ''
    local size = spec and run.spec and weight(id, record, failure)
    if not size or size > most then
      aside[#aside + 1] = { id = id, record = record, run = run, why = size and TOO_LARGE }
    elseif size > room and #letters > 0 then
      full = true
      break
    else
      room = room - size
      letters[#letters + 1] = { id, record, run.used, failure, int(tonumber(found[i + 1])) }
      local group = groups[run.spec]
      if not group then
        group = {}
        groups[run.spec] = group
      end
      group[#group + 1] = id
    end
  end
end

for _, letter in ipairs(aside) do
  set_dead_aside(letter.id, kind, dead_queue, letter.record, letter.run, letter.why)
end
local ids, records, deliveries, errors, times, answer = {}, {}, {}, {}, {}, {}
for n, letter in ipairs(letters) do
  ids[n], records[n], deliveries[n], errors[n], times[n] = unpack(letter)
  for _, part in ipairs(letter) do
    answer[#answer + 1] = part
  end
end
for spec, group in pairs(groups) do
  leave_dead(spec, group)
end
if #ids > 0 then
  drop_items(ids)
  call_many('HDEL', P .. 'run', ids)
  call_many('HDEL', P .. 'error', ids)
  call_many('HDEL', P .. 'trouble', ids)
  for _, id in ipairs(ids) do
    changed(id)
  end
  if request ~= '' then
    answer[#answer + 1] = here
    call_many('RPUSH', kept_key(request), answer)
    redis.call('PEXPIRE', kept_key(request), keep_ms)
  end
elseif notes_hunger then
  note_hunger('x' .. kind, { dead_queue })
end
return { now, 0, ids, records, deliveries, errors, times }
