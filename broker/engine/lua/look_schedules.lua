-- Looks at schedules whose time has come, and at those that are named: enqueues what is due, once for each due time
-- however many brokers look, and notices which runs have started.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, look again in us (at what waits for a worker or for its run to start), watch a run for
--          this many us, look again in us at what is to be planned, schedules at most, workers have come (1: look at
--          all that lacked one), number of names (0-1000), names
-- Reply    {next look in us or -1, now in us,
--           names of schedules whose runs are pending and watched,
--           for each schedule to plan {name, definition, due time of the run that started, its start}}
-- Cost     O(log n) a schedule, and O(log n) for each skill set of the workers.
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include schedules
--- @include timetable
--- @include unstarted
--- @include skills

local again, watch, planning = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local most, workers_came, count = tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[8])

local function enqueue(schedule, id, due)
  -- There already: it was enqueued before, for this due time.
  if redis.call('HEXISTS', P .. 'item', id) == 1 or redis.call('EXISTS', P .. 'end:' .. id) == 1 then
    return
  end
  local spec = schedule.spec
  redis.call('HSET', P .. 'item', id, int(now) .. ' ' .. int(due) .. ' ' .. spec.text .. '\n' .. schedule.body)
  redis.call('HINCRBY', P .. 'seen:' .. spec.kind, spec.queue, 1)
  push_ready(spec, { id })
end

local function fire(schedule, plan)
  if plan.run_due > 0 and unstarted(run_id(schedule, plan)) then
    -- The last run was handed back before anything was done of it: it is the one that is pending, and the time after
    -- it is planned anew when it starts.
    plan.state, plan.due = 'P', plan.run_due
  elseif worker_knows(schedule.task) then
    plan.state, plan.run_due, plan.runs = 'P', plan.due, plan.runs + 1
    enqueue(schedule, run_id(schedule, plan), plan.due)
  else
    plan.state = 'N'
  end
end

local pending, started = {}, {}

local function look(name)
  local text = redis.call('HGET', P .. 'plan', name)
  if not text then
    redis.call('ZREM', P .. 'timetable', name)
    return
  end
  local plan = parse_plan(text)
  if plan.state == 'W' and plan.due > now then
    look_at(name, plan.due)
    return
  end
  local schedule = parse_schedule(redis.call('HGET', P .. 'schedule', name))
  local before, next_time = plan.state, now + again
  if before == 'W' or before == 'N' then
    fire(schedule, plan)
  elseif before == 'P' and not unstarted(run_id(schedule, plan)) then
    plan.state, plan.start = 'S', now
  end
  if plan.state == 'P' then
    redis.call('ZADD', P .. 'watch', int(now + watch), run_id(schedule, plan))
    pending[#pending + 1] = name
  elseif plan.state == 'S' then
    started[#started + 1] = { name, schedule.definition, plan.run_due, plan.start }
    next_time = now + planning
  end
  if plan.state ~= before then
    put_plan(name, plan)
    redis.call(plan.state == 'N' and 'SADD' or 'SREM', P .. 'stranded', name)
  end
  look_at(name, next_time)
end

local names = {}
for i = 1, count do
  names[i] = ARGV[8 + i]
end
if workers_came then
  for _, name in ipairs(redis.call('SRANDMEMBER', P .. 'stranded', 1000)) do
    names[#names + 1] = name
  end
end
for _, name in ipairs(names) do
  look(name)
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'timetable', '-inf', int(now), 'LIMIT', 0, most)) do
  look(name)
end
return { next_look(), now, pending, started }
