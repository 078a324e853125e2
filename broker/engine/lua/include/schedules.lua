-- Reading and writing what is kept of a schedule (see keys.py for the glossary).
--   schedule = "<spec>\n<run>\n<task>\n<group>\n<bytes of definition>\n<definition><body>"
--   plan     = "<state> <due_us> <run_due_us> <start_us> <runs>[ <word>...]"
-- The id of a run is "<run>:<its due time>". States: W waits for `due`; N is due, but no worker knows the task; P its
-- run (of `run_due`, which then is `due`) has not started; S its run has started and the next is to be planned.
--
-- Words behind the bytes of a definition are ignored, those of a plan kept. What cannot be read is nil: a schedule, its
-- spec alone, or a plan.
--- @include records
local function parse_schedule(text)
  local spec, run, task, group, size, at = string.match(
    text, '^([^\n]*)\n([^\n]*)\n([^\n]*)\n([^\n]*)\n(%d+)[^\n]*\n()')
  return spec and {
    spec = spec_of(spec), run = run, task = task, group = group,
    definition = string.sub(text, at, at + size - 1), body = string.sub(text, at + size),
  }
end

local function parse_plan(text)
  local state, due, run_due, start, runs, words = string.match(text, '^([WNPS]) (%d+) (%d+) (%d+) (%d+)(.*)$')
  return state and {
    state = state, due = tonumber(due), run_due = tonumber(run_due), start = tonumber(start), runs = tonumber(runs),
    words = words,
  }
end

-- What is kept of a schedule, parsed; nil: it is not there, or cannot be read.
local function read_plan(name)
  local text = redis.call('HGET', P .. 'plan', name)
  return text and parse_plan(text) or nil
end

local function read_schedule(name)
  local text = redis.call('HGET', P .. 'schedule', name)
  return text and parse_schedule(text) or nil
end

local function put_plan(name, plan)
  redis.call('HSET', P .. 'plan', name, string.format('%s %.0f %.0f %.0f %.0f%s', plan.state, plan.due, plan.run_due,
    plan.start, plan.runs, plan.words))
end

local function run_id(schedule, plan)
  return schedule.run .. ':' .. int(plan.run_due)
end

-- When a schedule is looked at next; every schedule has an entry.
local function look_at(name, time)
  redis.call('ZADD', P .. 'timetable', int(time), name)
end
