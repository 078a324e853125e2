-- Moving ids in and out of a queue's ready list and delayed set.
--- @include events
--- @include records

-- A queue without a priority stands behind every queue with one.
local NO_PRIORITY = 1e15

-- `origin`: of the hint, see include/events.lua; none where others wait, too.
local function index_ready(kind, queue, origin)
  if redis.call('SISMEMBER', P .. 'paused:' .. kind, queue) == 0 then
    redis.call('ZADD', P .. 'ready:' .. kind, redis.call('HGET', P .. 'priority:' .. kind, queue) or NO_PRIORITY, queue)
    wake(kind, queue, origin)
  end
end

-- Appends ids to a queue, or puts them before all others (`head`), first id first either way.
local function push_ready(spec, ids, head, origin)
  local list = P .. 'queue:' .. spec.tail
  if head then
    local reversed = {}
    for i = #ids, 1, -1 do
      reversed[#reversed + 1] = ids[i]
    end
    ids = reversed
  end
  call_many(head and 'LPUSH' or 'RPUSH', list, ids)
  -- What was not empty is in the index already, or paused; and nobody waits for a queue that is not empty.
  if redis.call('LLEN', list) == #ids then
    index_ready(spec.kind, spec.queue, origin)
  end
end

-- The due index holds for each set the time of its first entry or an earlier one; advance.lua corrects it.
local function due_by(set, spec, time)
  redis.call('ZADD', P .. 'due', 'LT', int(time), set .. ':' .. spec.tail)
end

local function push_delayed(spec, id, due)
  redis.call('ZADD', P .. 'delayed:' .. spec.tail, int(due), id)
  due_by('delayed', spec, due)
end

-- An id cannot be taken out of the middle of a list cheaply: it stays as a stale entry that leasing skips.
local function leave_stale(spec)
  redis.call('HINCRBY', P .. 'stale:' .. spec.kind, spec.queue, 1)
end

local function next_due()
  local head = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
  return head[2] and tonumber(head[2]) or -1
end
