-- Takes schedules away, with their runs that have not started.
local function withdraw_run(schedule, plan)
  local id = run_id(schedule, plan)
  local spec, run = unstarted(id)
  if spec then
    detach(id, spec, run)
    end_cancelled(id, spec, 0)
  end
end

local function leave_group(name, group)
  redis.call('SREM', P .. 'group:' .. group, name)
end

-- Whether there was one of that name.
local function remove_schedule(name)
  local text = redis.call('HGET', P .. 'schedule', name)
  if not text then
    return false
  end
  local schedule = parse_schedule(text)
  withdraw_run(schedule, parse_plan(redis.call('HGET', P .. 'plan', name)))
  leave_group(name, schedule.group)
  redis.call('HDEL', P .. 'schedule', name)
  redis.call('HDEL', P .. 'plan', name)
  redis.call('ZREM', P .. 'schedules', name)
  redis.call('ZREM', P .. 'timetable', name)
  redis.call('SREM', P .. 'stranded', name)
  return true
end
