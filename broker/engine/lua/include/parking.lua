-- How a lease parks what its consumer does not know, and takes what others have parked.
--- @include clock
--- @include events
--- @include parked
--- @include records

-- Pairs of queue and task that may be parked; what is beyond goes out, and whoever gets it gives it back for a while.
local MOST_PAIRS = 1000

-- Decides what to park, for one consumer.
local function new_sieve(kind, skills)
  local set = P .. 'skills:' .. skills
  if redis.call('EXISTS', set) == 0 then
    return nil
  end
  local known, groups, parked = {}, {}, 0
  local pairs_left = MOST_PAIRS - tonumber(redis.call('GET', P .. 'parkedpairs:' .. kind) or '0')
  local order = math.max(now, tonumber(redis.call('GET', P .. 'parkorder') or '0'))
  local sieve = {}

  function sieve.holds(record)
    local task = task_of(record)
    if known[task] == nil then
      known[task] = redis.call('SISMEMBER', set, task) == 1
    end
    return not known[task] and task
  end

  -- Notes an item to be parked; False if there is no room for its pair.
  function sieve.park(spec, task, id)
    local key = parked_key(spec.tail, task)
    local group = groups[key]
    if group == nil then
      local is_new = redis.call('SISMEMBER', P .. 'parkedin:' .. spec.tail, task) == 0
      group = (not is_new or pairs_left > 0) and { spec = spec, task = task, is_new = is_new, entries = {} } or false
      groups[key] = group
      if group and is_new then
        pairs_left = pairs_left - 1
      end
    end
    if not group then
      return false
    end
    order, parked = order + 1, parked + 1
    local n = #group.entries
    group.entries[n + 1], group.entries[n + 2] = int(order), id
    return true
  end

  -- Writes it down; answers how many, and their tasks.
  function sieve.write()
    local told, seen = { parked }, {}
    for key, group in pairs(groups) do
      if group then
        if not seen[group.task] then
          seen[group.task] = true
          told[#told + 1] = group.task
        end
        call_many('ZADD', key, group.entries)
        if group.is_new then
          redis.call('SADD', P .. 'parkedtasks:' .. kind, group.task)
          redis.call('SADD', P .. 'parkedqueues:' .. kind .. ':' .. group.task, group.spec.queue)
          redis.call('SADD', P .. 'parkedin:' .. group.spec.tail, group.task)
          redis.call('INCR', P .. 'parkedpairs:' .. kind)
        end
        -- Who knows the task may wait for it.
        wake(kind, group.spec.queue)
      end
    end
    if parked > 0 then
      redis.call('SET', P .. 'parkorder', int(order))
    end
    return told
  end

  return sieve
end

-- Whether it matters, and is not known, which tasks belong to a skill set.
local function is_untaught(kind, skills, sift)
  return skills ~= '' and (sift or is_any_parked(kind))
    and redis.call('EXISTS', P .. 'skills:' .. skills) == 0
end

-- Queues with parked items that a consumer of these skills ("" any) can take: name → {tasks}; nil: none.
local function parked_for(kind, skills)
  if not is_any_parked(kind) then
    return nil
  end
  local set, found = P .. 'parkedtasks:' .. kind, nil
  for _, task in ipairs(skills == '' and redis.call('SMEMBERS', set) or redis.call('SINTER', set, P .. 'skills:' .. skills)) do
    for _, queue in ipairs(redis.call('SMEMBERS', P .. 'parkedqueues:' .. kind .. ':' .. task)) do
      found = found or {}
      found[queue] = found[queue] or {}
      table.insert(found[queue], task)
    end
  end
  return found
end

-- Moves the tape at a place of the heap down to where it belongs: the one whose next item was parked first is on top.
local function sink(heap, place)
  local tape = heap[place]
  while true do
    local below = 2 * place
    if heap[below + 1] and heap[below + 1].order < heap[below].order then
      below = below + 1
    end
    if not heap[below] or heap[below].order >= tape.order then
      break
    end
    heap[place], place = heap[below], below
  end
  heap[place] = tape
end

-- Reads the parked items of a queue, of all these tasks, in the order in which they were parked, and as far as it is
-- asked: each call answers the ids and tasks of the next ones, at most so many. Changes nothing.
local function parked_reader(tail, tasks, wanted)
  local at_once = math.max(1, math.min(wanted, math.max(8, math.ceil(wanted / #tasks))))
  local heap = {}

  -- Goes to the next item of a tape; False: there is none.
  local function go_on(tape)
    tape.at = tape.at + 2
    if tape.at > #tape.found then
      tape.found = redis.call('ZRANGE', tape.key, tape.read, tape.read + at_once - 1, 'WITHSCORES')
      tape.read, tape.at = tape.read + at_once, 1
    end
    tape.order = tonumber(tape.found[tape.at + 1])
    return tape.order ~= nil
  end

  for _, task in ipairs(tasks) do
    local tape = { key = parked_key(tail, task), task = task, read = 0, found = {}, at = 0 }
    if go_on(tape) then
      heap[#heap + 1] = tape
    end
  end
  for place = math.floor(#heap / 2), 1, -1 do
    sink(heap, place)
  end
  return function(most)
    local ids, of = {}, {}
    while heap[1] and #ids < most do
      local tape = heap[1]
      ids[#ids + 1], of[#of + 1] = tape.found[tape.at], tape.task
      if not go_on(tape) then
        heap[1] = heap[#heap]
        heap[#heap] = nil
      end
      if heap[1] then
        sink(heap, 1)
      end
    end
    return ids, of
  end
end
