-- Takes schedules away, with their runs that have not started. First everything is looked at, then it is written.
--- @include endings
--- @include locate
--- @include records
--- @include schedules
--- @include unstarted

-- What takes the run of a schedule away that has not started; nil: nothing does.
local function find_unstarted(schedule, plan)
  if schedule and plan then
    local id = run_id(schedule, plan)
    local spec, run = unstarted(id)
    return spec and { id = id, spec = spec, run = run }
  end
end

local function withdraw_run(found)
  if found then
    detach(found.id, found.spec, found.run)
    end_cancelled(found.id, found.spec, 0)
  end
end

local function leave_group(name, group)
  redis.call('SREM', P .. 'group:' .. group, name)
end

-- What removing a schedule takes; nil if there is none of that name.
local function find_schedule(name)
  if redis.call('HEXISTS', P .. 'schedule', name) == 1 then
    local schedule = read_schedule(name)
    return { name = name, group = schedule and schedule.group, run = find_unstarted(schedule, read_plan(name)) }
  end
end

local function remove_schedule(found)
  local name = found.name
  withdraw_run(found.run)
  if found.group then
    leave_group(name, found.group)
  end
  redis.call('HDEL', P .. 'schedule', name)
  redis.call('HDEL', P .. 'plan', name)
  redis.call('ZREM', P .. 'schedules', name)
  redis.call('ZREM', P .. 'timetable', name)
  redis.call('SREM', P .. 'stranded', name)
end
