-- How a lease parks what its consumer does not know, and takes what others have parked. Needs `parked`.

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
  return skills ~= '' and (sift or redis.call('EXISTS', P .. 'parkedtasks:' .. kind) == 1)
    and redis.call('EXISTS', P .. 'skills:' .. skills) == 0
end

-- Queues with parked items that a consumer of these skills ("" any) can take: name → {tasks}; nil: none.
local function parked_for(kind, skills)
  local set = P .. 'parkedtasks:' .. kind
  if redis.call('EXISTS', set) == 0 then
    return nil
  end
  local found
  for _, task in ipairs(skills == '' and redis.call('SMEMBERS', set) or redis.call('SINTER', set, P .. 'skills:' .. skills)) do
    for _, queue in ipairs(redis.call('SMEMBERS', P .. 'parkedqueues:' .. kind .. ':' .. task)) do
      found = found or {}
      found[queue] = found[queue] or {}
      table.insert(found[queue], task)
    end
  end
  return found
end

-- The first parked items of a queue, of all these tasks, in the order in which they were parked: {order, id, task} each.
local function first_parked(tail, tasks, wanted)
  local entries, last = {}, nil
  for _, task in ipairs(tasks) do
    local found = redis.call('ZRANGE', parked_key(tail, task), 0, wanted - 1, 'WITHSCORES')
    for i = 1, #found, 2 do
      entries[#entries + 1] = { tonumber(found[i + 1]), found[i], task }
    end
    if #found == 2 * wanted then
      -- More of this task follow: what others have behind them is not next.
      local bound = entries[#entries][1]
      last = last and math.min(last, bound) or bound
    end
  end
  table.sort(entries, function(a, b)
    return a[1] < b[1]
  end)
  while last and entries[#entries][1] > last do
    entries[#entries] = nil
  end
  return entries
end
