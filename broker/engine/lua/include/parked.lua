-- Items that are ready, of tasks that somebody who asked for work does not know: they stand by queue and task, in nobody's
-- way, and are found at once by who knows the task.
--   parkedtasks:k            set     tasks
--   parkedqueues:k:<task>    set     queues where items of the task are parked
--   parkedin:k:q             set     tasks whose items are parked in a queue
--   parkedpairs:k            string  how many pairs of queue and task there are
--   parked:k:q:<task>        zset    id → order in which they left the queue's list
--   parkorder                string  the last such order
-- Items wait there like their neighbours in the list, and come before them.
--- @include records

local function parked_key(tail, task)
  return P .. 'parked:' .. tail .. ':' .. task
end

local any_parked = {}

-- Whether anything of a kind is parked.
local function is_any_parked(kind)
  if any_parked[kind] == nil then
    any_parked[kind] = redis.call('EXISTS', P .. 'parkedtasks:' .. kind) == 1
  end
  return any_parked[kind]
end

-- The name of the task that a record is about: a body begins with it (see bodies.py). Of a body that ends before, what
-- there is of it.
local function task_of(record)
  local at = (string.find(record, '\n', 1, true) or #record) + 1
  if string.byte(record, at) ~= 0x0A then
    return ''
  end
  local length, first = string.byte(record, at + 1) or 0, at + 2
  if length > 0x7F then
    local high = string.byte(record, at + 2) or 0
    length, first = length - 128 + (high % 128) * 128, at + 3
    if high > 0x7F then
      length, first = length + (string.byte(record, at + 3) or 0) * 16384, at + 4
    end
  end
  return string.sub(record, first, first + length - 1)
end

-- Whether an item is parked. An entry that it has in the list as well is stale.
local function is_parked(id, spec, record)
  return is_any_parked(spec.kind) and redis.call('ZSCORE', parked_key(spec.tail, task_of(record)), id)
end

-- What is parked in a queue: {task, key, size} each, by the names of the tasks, and how many items in all.
local function parked_in(kind, queue)
  local sets, count = {}, 0
  if is_any_parked(kind) then
    local tasks = redis.call('SMEMBERS', P .. 'parkedin:' .. kind .. ':' .. queue)
    table.sort(tasks)
    for _, task in ipairs(tasks) do
      local key = parked_key(kind .. ':' .. queue, task)
      local size = redis.call('ZCARD', key)
      sets[#sets + 1] = { task = task, key = key, size = size }
      count = count + size
    end
  end
  return sets, count
end

-- Queues with parked items that are not paused.
local function open_parked_queues(kind)
  local queues, seen = {}, {}
  for _, task in ipairs(is_any_parked(kind) and redis.call('SMEMBERS', P .. 'parkedtasks:' .. kind) or {}) do
    for _, queue in ipairs(redis.call('SMEMBERS', P .. 'parkedqueues:' .. kind .. ':' .. task)) do
      if not seen[queue] then
        seen[queue] = true
        if redis.call('SISMEMBER', P .. 'paused:' .. kind, queue) == 0 then
          queues[#queues + 1] = queue
        end
      end
    end
  end
  return queues
end

-- Ids that are parked, from a position on, one task after the other: at most `count`, perhaps fewer though more follow.
local function slice_of_parked(sets, first, count)
  for _, set in ipairs(sets) do
    if first < set.size then
      return redis.call('ZRANGE', set.key, first, first + count - 1)
    end
    first = first - set.size
  end
  return {}
end

-- Forgets a pair of queue and task when nothing of it is left.
local function unpark_if_empty(kind, queue, task)
  if redis.call('EXISTS', parked_key(kind .. ':' .. queue, task)) == 1
    or redis.call('SREM', P .. 'parkedin:' .. kind .. ':' .. queue, task) == 0 then
    return
  end
  if redis.call('DECR', P .. 'parkedpairs:' .. kind) <= 0 then
    redis.call('DEL', P .. 'parkedpairs:' .. kind, P .. 'parkorder')
  end
  redis.call('SREM', P .. 'parkedqueues:' .. kind .. ':' .. task, queue)
  if redis.call('EXISTS', P .. 'parkedqueues:' .. kind .. ':' .. task) == 0 then
    redis.call('SREM', P .. 'parkedtasks:' .. kind, task)
  end
end

-- Takes one item out; False if it is not parked.
local function leave_parked(id, spec)
  if not is_any_parked(spec.kind) then
    return false
  end
  local record = redis.call('HGET', P .. 'item', id)
  local task = record and task_of(record)
  if not task or redis.call('ZREM', parked_key(spec.tail, task), id) == 0 then
    return false
  end
  unpark_if_empty(spec.kind, spec.queue, task)
  return true
end
