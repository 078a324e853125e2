-- Makes schedules, changes them, and removes those of a group that are not named any more.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, group, replace the group (1 or 0), number of schedules (0-1000), for each
--          name, schedule (see include/schedules.lua), first due time in us if it is new or changed
-- Reply    {next look in us or -1, now in us, again (1: more than 1,000 were to be removed, call again), names removed}
--          One that is there and unchanged keeps its plan and its run. The run of a changed one that has not started is
--          removed, since it would do what is no longer wanted.
-- Cost     O(log n) a schedule, and O(schedules of the group) to replace it.
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include dead
--- @include endings
--- @include aside
--- @include leased
--- @include parked
--- @include locate
--- @include schedules
--- @include timetable
--- @include unstarted
--- @include withdraw

local group, replace, count = ARGV[3], ARGV[4] == '1', tonumber(ARGV[5])

local function same(a, b)
  return a.spec == b.spec and a.task == b.task and a.definition == b.definition and a.body == b.body
end

local function put(name, text, due)
  local schedule, before = parse_schedule(text), redis.call('HGET', P .. 'schedule', name)
  local plan = { state = 'W', due = due, run_due = 0, start = 0, runs = 0 }
  local unchanged = false
  if before then
    before = parse_schedule(before)
    unchanged = same(before, schedule)
    if before.group ~= group then
      leave_group(name, before.group)
    end
    if not unchanged then
      local old = parse_plan(redis.call('HGET', P .. 'plan', name))
      withdraw_run(before, old)
      plan.run_due, plan.start, plan.runs = old.run_due, old.start, old.runs
    end
  end
  redis.call('HSET', P .. 'schedule', name, text)
  redis.call('SADD', P .. 'group:' .. group, name)
  if not unchanged then
    redis.call('ZADD', P .. 'schedules', 0, name)
    redis.call('SREM', P .. 'stranded', name)
    put_plan(name, plan)
    look_at(name, due)
  end
end

local named = {}
for i = 1, count do
  local at = 3 + i * 3
  named[ARGV[at]] = true
  put(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]))
end

local removed, again = {}, 0
if replace then
  for _, name in ipairs(redis.call('SMEMBERS', P .. 'group:' .. group)) do
    if not named[name] then
      if #removed == 1000 then
        again = 1
        break
      end
      remove_schedule(name)
      removed[#removed + 1] = name
    end
  end
end
return { next_look(), now, again, removed }
