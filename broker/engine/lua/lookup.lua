-- Tells what is known of items, and notes those that somebody waits for.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, until ("n" now, "s" started, "d" done), watch for this many us, records wanted (1 or 0),
--          bytes wanted at most, number of ids (1-1000), ids, "1" if some bytes were told in an earlier call
-- Reply    for each id, or for the first of them if those have records of 4 MiB, {state, deliveries, cancel (1 or 0), kind, queue, record or "", last error, ending, left out}
--          with "" as kind, queue and record as far as they cannot be read
--          state    "S" succeeded, "F" failed, "C" cancelled (then ending is "R<result>", "E<error>" or "-"),
--                   "X" dead or set aside, "L" started, "W" waiting (here or with a worker), "D" delayed, "A" late (due, not yet moved),
--                   "U" unknown
--          left out 1 if body, result or error would have been too much in all: ask again; the first one never is
--          Ids without a reply are to be asked for in another call.
--          An id that has not come as far as `until` is watched: the next change of its state is published.
-- Cost     O(log n) an id. Reads at most 4 MiB of records and one more, and of endings what it tells and one more.
--- @drains
--- @include clock
--- @include records
--- @include aside

local until_state, watch, with_record, room = ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local count = tonumber(ARGV[7])
local full, some = false, ARGV[8 + count] == '1'
local unread = 4 * 1024 * 1024
-- Of an ending that is not told, as much as holds everything before it.
local HEAD = 2048

-- Whether there is room for that many bytes more; if not, there is no more room for anything.
local function fits(size)
  if size == 0 then
    return true
  end
  full = full or (some and size > room)
  if not full then
    room, some = room - size, true
  end
  return not full
end

-- The ending of an item, read only if it may fit; "" none. And whether that is all of it.
local function read_ending(id)
  local key = P .. 'end:' .. id
  local size = redis.call('STRLEN', key)
  if size > HEAD and (full or (some and size - HEAD > room)) then
    full = true
    return redis.call('GETRANGE', key, 0, HEAD - 1), false
  end
  return size > 0 and redis.call('GET', key) or '', true
end

-- The reply for an item that has ended.
local function ended(ending, all)
  local state, used, kind, queue, content = string.match(ending, '^([SFC]) (%d+) (%a) (%S+) (.*)$')
  if not state then
    return { 'U', 0, 0, '', '', '', '', '-', 0 }
  end
  if state == 'F' and string.byte(content) == 0x58 then
    -- See include/expiring.lua.
    state, content = 'E', 'E' .. string.sub(content, 2)
  end
  local whole = content == '-' or (all and fits(#content))
  return { state, tonumber(used), 0, kind, queue, '', '', whole and content or '-', whole and 0 or 1 }
end

-- State and last error of an item that is there; `run` is nil if it has none, `spec` if it cannot be read.
local function stand(id, run, spec)
  local aside = why_aside(id)
  if aside then
    return 'X', 'set aside: ' .. (string.match(aside, '^%S+ %S+ (.*)$') or '')
  end
  local state, failure = run and run.state or 'W', run and redis.call('HGET', P .. 'error', id) or ''
  if run and run.unbegun then
    return 'W', failure
  elseif state == 'O' then
    state = 'L'
  elseif spec and state == '?' then
    -- Where it stands tells, too.
    state = redis.call('ZSCORE', P .. 'leased:' .. spec.tail, id) and 'L'
      or spec.dead and redis.call('ZSCORE', P .. 'dead:' .. spec.kind .. ':' .. spec.dead, id) and 'X' or 'W'
  elseif state == '?' then
    state = 'W'
  end
  if spec and state == 'W' then
    local due = redis.call('ZSCORE', P .. 'delayed:' .. spec.tail, id)
    state = due and (tonumber(due) > now and 'D' or 'A') or 'W'
  end
  return state, failure
end

local function describe(id)
  local ending, all = read_ending(id)
  if ending ~= '' then
    return ended(ending, all)
  end
  local record = redis.call('HGET', P .. 'item', id)
  if not record then
    return { 'U', 0, 0, '', '', '', '', '-', 0 }
  end
  unread = unread - #record
  local text = redis.call('HGET', P .. 'run', id)
  local run = text and parse_run(text) or nil
  local readable = record_spec(record)
  local spec = run and run.spec or readable
  local state, failure = stand(id, run, spec)
  local whole = fits(#failure + (with_record and readable and #record or 0))
  -- Without the body a record still tells its times.
  if readable and not (with_record and whole) then
    record = string.match(record, '^[^\n]*\n')
  end
  return {
    state, run and run.used or 0, run and run.cancel and 1 or 0, spec and spec.kind or '', spec and spec.queue or '',
    readable and record or '', whole and failure or '', '-', whole and 0 or 1,
  }
end

local ENDED = { S = true, F = true, E = true, C = true, X = true, U = true }
local replies, watched = {}, {}
for i = 1, count do
  if unread <= 0 then
    break
  end
  local id = ARGV[7 + i]
  local reply = describe(id)
  replies[i] = reply
  local arrived = until_state == 'n' or ENDED[reply[1]] or (until_state == 's' and reply[1] == 'L')
  if not arrived then
    watched[#watched + 1] = int(now + watch)
    watched[#watched + 1] = id
  end
end
call_many('ZADD', P .. 'watch', watched)
if until_state ~= 'n' then
  -- Watches of brokers that are gone.
  local old = redis.call('ZRANGEBYSCORE', P .. 'watch', '-inf', int(now), 'LIMIT', 0, 1000)
  if #old > 0 then
    call_many('ZREM', P .. 'watch', old)
  end
end
return replies
