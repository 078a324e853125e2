-- Looks at schedules whose time has come, and at those that are named: enqueues what is due, once for each due time
-- however many brokers look, and notices which runs have started. What quotas leave no room for stays due. What cannot be read is looked at a minute later.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, look again in us (at what waits for a worker or for its run to start), watch a run for
--          this many us, look again in us at what is to be planned, schedules at most, workers have come (1: look at
--          all that lacked one), quotas (see include/quota.lua), number of names (0-1000), names
-- Reply    {next look in us or -1, now in us,
--           names of schedules whose runs are pending and watched,
--           for each schedule to plan {name, definition, due time of the run that started, its start}}
-- Cost     O(log n) a schedule, and O(log n) for each skill set of the workers.
--- @include clock
--- @include records
--- @include queues
--- @include schedules
--- @include timetable
--- @include unstarted
--- @include skills
--- @include bytes
--- @include expiring
--- @include quota

local again, watch, planning = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local most, workers_came, count = tonumber(ARGV[6]), ARGV[7] == '1', tonumber(ARGV[9])
local quota = read_quota(ARGV[8])
-- When to look again at what cannot be read: a broker that can may be there by then.
local unreadable = 60000000

-- What is to be enqueued for a due time; nil: nothing, it is there already or was.
local function new_item(schedule, id, due)
  if redis.call('HEXISTS', P .. 'item', id) == 0 and redis.call('EXISTS', P .. 'end:' .. id) == 0 then
    local record = int(now) .. ' ' .. int(due) .. ' ' .. schedule.spec.text .. '\n' .. schedule.body
    return { id = id, record = record, spec = schedule.spec }
  end
end

-- Whether quotas leave room for an item.
local function has_room(item)
  if not (item and quota) then
    return true
  end
  quota.takes_item()
  quota.takes_bytes(#item.record)
  quota.takes_queue(item.spec)
  return quota.decide() == nil
end

-- Moves the plan of what is due on; answers what is to be enqueued.
local function fire(schedule, plan)
  if plan.run_due > 0 and unstarted(run_id(schedule, plan)) then
    -- The last run was handed back before anything was done of it: it is the one that is pending, and the time after
    -- it is planned anew when it starts.
    plan.state, plan.due = 'P', plan.run_due
  elseif worker_knows(schedule.task) then
    local before = plan.run_due
    plan.run_due = plan.due
    local item = new_item(schedule, run_id(schedule, plan), plan.due)
    if has_room(item) then
      plan.state, plan.runs = 'P', plan.runs + 1
      return item
    end
    -- It stays due, and is looked at again.
    plan.state, plan.run_due = 'W', before
  else
    plan.state = 'N'
  end
end

-- What is to be done about a schedule: `drop` it from the timetable, or look at it again at `time`, having done the rest.
local function look(name)
  if redis.call('HEXISTS', P .. 'plan', name) == 0 then
    return { name = name, drop = true }
  end
  local plan = read_plan(name)
  if plan and plan.state == 'W' and plan.due > now then
    return { name = name, time = plan.due }
  end
  local schedule = read_schedule(name)
  if not (plan and schedule and schedule.spec) then
    return { name = name, time = now + unreadable }
  end
  local found = { name = name, time = now + again, schedule = schedule, plan = plan, before = plan.state }
  if plan.state == 'W' or plan.state == 'N' then
    found.item = fire(schedule, plan)
  elseif plan.state == 'P' and not unstarted(run_id(schedule, plan)) then
    plan.state, plan.start = 'S', now
  end
  if plan.state == 'S' then
    found.time = now + planning
  end
  return found
end

local function enqueue(item)
  local spec = item.spec
  put_items({ item.id, item.record })
  redis.call('HINCRBY', P .. 'seen:' .. spec.kind, spec.queue, 1)
  push_ready(spec, { item.id })
  note_waiting(spec, item.id)
end

local pending, started = {}, {}

local function write(found)
  local name, plan = found.name, found.plan
  if found.drop then
    redis.call('ZREM', P .. 'timetable', name)
    return
  end
  look_at(name, found.time)
  if not plan then
    return
  end
  if found.item then
    enqueue(found.item)
  end
  if plan.state == 'P' then
    redis.call('ZADD', P .. 'watch', int(now + watch), run_id(found.schedule, plan))
    pending[#pending + 1] = name
  elseif plan.state == 'S' then
    started[#started + 1] = { name, found.schedule.definition, plan.run_due, plan.start }
  end
  if plan.state ~= found.before then
    put_plan(name, plan)
    redis.call(plan.state == 'N' and 'SADD' or 'SREM', P .. 'stranded', name)
  end
end

local looks, looked = {}, {}

local function look_once(name)
  if not looked[name] then
    looked[name] = true
    looks[#looks + 1] = look(name)
  end
end

for i = 1, count do
  look_once(ARGV[9 + i])
end
if workers_came then
  for _, name in ipairs(redis.call('SRANDMEMBER', P .. 'stranded', 1000)) do
    look_once(name)
  end
end
for _, name in ipairs(redis.call('ZRANGEBYSCORE', P .. 'timetable', '-inf', int(now), 'LIMIT', 0, most)) do
  look_once(name)
end
for _, found in ipairs(looks) do
  write(found)
end
return { next_look(), now, pending, started }
