-- Makes schedules, changes them, and removes those of a group that are not named any more.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, group, replace the group (1 or 0), number of schedules (0-1000), schedules at
--          most (0: any number), for each name, schedule (see include/schedules.lua), first due time in us if it is new or changed
-- Reply    {next look in us or -1, now in us, again (1: more than 1,000 were to be removed, call again), names removed}, or a
--          refusal (see include/quota.lua): so many others are there
--          One that is there and unchanged keeps its plan and its run. The run of a changed one that has not started is
--          removed, since it would do what is no longer wanted.
-- Cost     O(log n) a schedule, and O(schedules of the group) to replace it.
--- @include clock
--- @include records
--- @include schedules
--- @include timetable
--- @include withdraw
--- @include quota

local group, replace, count, most = ARGV[3], ARGV[4] == '1', tonumber(ARGV[5]), tonumber(ARGV[6])

local function same(a, b)
  return a.spec == b.spec and a.task == b.task and a.definition == b.definition and a.body == b.body
end

-- What putting a schedule takes. One that cannot be read is taken for changed.
local function look(name, text, due)
  local schedule, before, old = parse_schedule(text), read_schedule(name), read_plan(name)
  local unchanged = before and old and same(before, schedule)
  return {
    name = name, text = text, group_before = before and before.group, unchanged = unchanged,
    run = not unchanged and find_unstarted(before, old),
    plan = {
      state = 'W', due = due, run_due = old and old.run_due or 0, start = old and old.start or 0,
      runs = old and old.runs or 0, words = old and old.words or '',
    },
  }
end

local function put(found)
  local name = found.name
  if found.group_before and found.group_before ~= group then
    leave_group(name, found.group_before)
  end
  redis.call('HSET', P .. 'schedule', name, found.text)
  redis.call('SADD', P .. 'group:' .. group, name)
  if not found.unchanged then
    withdraw_run(found.run)
    redis.call('ZADD', P .. 'schedules', 0, name)
    redis.call('SREM', P .. 'stranded', name)
    put_plan(name, found.plan)
    look_at(name, found.plan.due)
  end
end

local wanted, named = {}, {}
for i = 1, count do
  local at = 4 + i * 3
  named[ARGV[at]] = true
  wanted[i] = look(ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]))
end

local surplus, gone, again = {}, {}, 0
if replace then
  for _, name in ipairs(redis.call('SMEMBERS', P .. 'group:' .. group)) do
    if not named[name] then
      if #surplus + #gone == 1000 then
        again = 1
        break
      end
      local found = find_schedule(name)
      local list = found and surplus or gone
      list[#list + 1] = found or name
    end
  end
end

if most > 0 then
  local known, more = redis.call('HLEN', P .. 'schedule'), 0
  for name in pairs(named) do
    more = more + 1 - redis.call('HEXISTS', P .. 'schedule', name)
  end
  if more > 0 and known + more - #surplus > most then
    return refusal('schedules', most, known)
  end
end

for _, found in ipairs(wanted) do
  put(found)
end
local removed = {}
for i, found in ipairs(surplus) do
  remove_schedule(found)
  -- It may not have been readable whose it is.
  leave_group(found.name, group)
  removed[i] = found.name
end
for _, name in ipairs(gone) do
  leave_group(name, group)
end
return { next_look(), now, again, removed }
