-- Makes schedules due now. One that has a run pending has nothing more to do, and one that is due already stays due
-- since then.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, schedules at most (1-1000), name after which to go on ("" from the start)
-- Reply    {next look in us or -1, now in us, name to go on after ("" the end)}
-- Cost     O(log n) a schedule.
--- @include clock
--- @include records
--- @include schedules
--- @include timetable

local wanted, after = tonumber(ARGV[3]), ARGV[4]
local found = redis.call('ZRANGEBYLEX', P .. 'schedules', after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, wanted)
local plans = {}
for _, name in ipairs(found) do
  local plan = read_plan(name)
  if plan and plan.state == 'W' and plan.due > now then
    plan.due = now
    plans[name] = plan
  end
end
for name, plan in pairs(plans) do
  put_plan(name, plan)
  look_at(name, now)
end
return { next_look(), now, #found == wanted and found[#found] or '' }
