-- Counts what is in queues.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, number of queues (1-50), their names
-- Reply    for each {known (1 or 0), ready, delayed, leased, dead, seen, done, paused (1 or 0), priority ("" none),
--          when the first ready item was enqueued in us ("" unknown), set aside}
-- Cost     O(queues).
--- @include records
--- @include aside
--- @include standing

local kind = ARGV[3]

local function number(name, queue)
  return tonumber(redis.call('HGET', P .. name .. ':' .. kind, queue) or 0)
end

-- Looks at the first entries only: a queue whose first entries are all stale does not tell.
local function oldest(tail)
  local ids = redis.call('LRANGE', P .. 'queue:' .. tail, 0, 15)
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

local replies = {}
for i = 1, tonumber(ARGV[4]) do
  local queue = ARGV[4 + i]
  local tail = kind .. ':' .. queue
  local ready = math.max(0, redis.call('LLEN', P .. 'queue:' .. tail) - number('stale', queue))
  for _, task in ipairs(redis.call('SMEMBERS', P .. 'parkedtasks:' .. kind)) do
    ready = ready + redis.call('ZCARD', P .. 'parked:' .. tail .. ':' .. task)
  end
  replies[i] = {
    is_known(kind, queue) and 1 or 0, ready, redis.call('ZCARD', P .. 'delayed:' .. tail),
    redis.call('ZCARD', P .. 'leased:' .. tail), number('deaths', queue), number('seen', queue), number('done', queue),
    redis.call('SISMEMBER', P .. 'paused:' .. kind, queue), redis.call('HGET', P .. 'priority:' .. kind, queue) or '',
    ready > 0 and oldest(tail) or '', redis.call('ZCARD', P .. 'aside:' .. tail),
  }
end
return replies
