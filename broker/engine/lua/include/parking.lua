-- Items whose task the one who asked does not know: parked by queue and task, where they stand in nobody's way.
--   parkedtasks:k            set   tasks
--   parkedqueues:k:<task>    set   their queues
--   parked:k:<queue>:<task>  zset  id → order
local parking, known_tasks = {}, {}

local function parked_key(tail, task)
  return P .. 'parked:' .. tail .. ':' .. task
end

-- The task's name: a body begins with it (see bodies.py).
local function task_of(record)
  local at = string.find(record, '\n', 1, true) + 1
  if string.byte(record, at) ~= 0x0A then
    return ''
  end
  local length, first = string.byte(record, at + 1), at + 2
  if length > 0x7F then
    local high = string.byte(record, at + 2)
    length, first = length - 128 + (high % 128) * 128, at + 3
    if high > 0x7F then
      length, first = length + string.byte(record, at + 3) * 16384, at + 4
    end
  end
  return string.sub(record, first, first + length - 1)
end

local function knows(record)
  local task = task_of(record)
  if known_tasks[task] == nil then
    known_tasks[task] = redis.call('SISMEMBER', P .. 'skills:' .. skills, task) == 1
  end
  return known_tasks[task]
end

local function park(spec, id, record)
  local task = task_of(record)
  local key = parked_key(spec.tail, task)
  local group = parking[key]
  if not group then
    group = { spec = spec, task = task, entries = {} }
    parking[key] = group
  end
  local n = #group.entries
  group.entries[n + 1], group.entries[n + 2] = int(now), id
  -- Ids of one instant stand in the order of their names: a fraction keeps them as they were.
  group.entries[n + 1] = string.format('%.0f', now + n / 2)
end

local function write_parked()
  for key, group in pairs(parking) do
    call_many('ZADD', key, group.entries)
    redis.call('SADD', P .. 'parkedtasks:' .. group.spec.kind, group.task)
    redis.call('SADD', P .. 'parkedqueues:' .. group.spec.kind .. ':' .. group.task, group.spec.queue)
  end
end

local function unpark(queue, task)
  redis.call('SREM', P .. 'parkedqueues:' .. kind .. ':' .. task, queue)
  if redis.call('EXISTS', P .. 'parkedqueues:' .. kind .. ':' .. task) == 0 then
    redis.call('SREM', P .. 'parkedtasks:' .. kind, task)
  end
end

-- Parked tasks that the one who asks knows; nil: none.
local function parked_tasks()
  local set = P .. 'parkedtasks:' .. kind
  if redis.call('EXISTS', set) == 0 then
    return nil
  end
  return skills == '' and redis.call('SMEMBERS', set) or redis.call('SINTER', set, P .. 'skills:' .. skills)
end
