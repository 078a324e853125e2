-- Counts what is in queues.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, number of queues (1-50), their names
-- Reply    for each {known (1 or 0), ready, delayed, leased, dead, seen, done, paused (1 or 0), priority ("" none),
--          when the first ready item was enqueued in us ("" unknown), set aside, and the tasks with the most parked items:
--          {name, items, connected workers that know it} each, at most 20}
-- Cost     O(queues + parked tasks * skill sets of the workers).
--- @include records
--- @include leased
--- @include parked
--- @include skills
--- @include standing

local kind = ARGV[3]

local function number(name, queue)
  return tonumber(redis.call('HGET', P .. name .. ':' .. kind, queue) or 0)
end

-- Looks at the first entries only: a queue whose first entries are all stale does not tell.
local function oldest(tail, parked)
  local ids = #parked > 0 and {} or redis.call('LRANGE', P .. 'queue:' .. tail, 0, 15)
  local first
  for _, set in ipairs(parked) do
    local entry = redis.call('ZRANGE', set.key, 0, 0, 'WITHSCORES')
    if entry[1] and (not first or tonumber(entry[2]) < first) then
      first, ids = tonumber(entry[2]), { entry[1] }
    end
  end
  for _, id in ipairs(ids) do
    local run = redis.call('HGET', P .. 'run', id)
    run = run and parse_run(run)
    -- The record last of all: it may be large.
    if not run or run.state == 'W' then
      local record = redis.call('HGET', P .. 'item', id)
      if is_ready(id, record, run, tail) then
        return string.match(record, '^%d+')
      end
    end
  end
  return ''
end

-- The tasks with the most parked items.
local function most_parked(parked)
  table.sort(parked, function(a, b)
    return a.size > b.size or (a.size == b.size and a.task < b.task)
  end)
  local told = {}
  for i = 1, math.min(#parked, 20) do
    told[i] = { parked[i].task, parked[i].size, workers_knowing(parked[i].task) }
  end
  return told
end

local replies = {}
for i = 1, tonumber(ARGV[4]) do
  local queue = ARGV[4 + i]
  local tail = kind .. ':' .. queue
  local ready = math.max(0, redis.call('LLEN', P .. 'queue:' .. tail) - number('stale', queue))
  local parked, parked_count = parked_in(kind, queue)
  ready = ready + parked_count
  replies[i] = {
    is_known(kind, queue) and 1 or 0, ready, redis.call('ZCARD', P .. 'delayed:' .. tail),
    count_leased(tail), number('deaths', queue), number('seen', queue), number('done', queue),
    redis.call('SISMEMBER', P .. 'paused:' .. kind, queue), redis.call('HGET', P .. 'priority:' .. kind, queue) or '',
    ready > 0 and oldest(tail, parked) or '', redis.call('ZCARD', P .. 'aside:' .. tail), most_parked(parked),
  }
end
return replies
