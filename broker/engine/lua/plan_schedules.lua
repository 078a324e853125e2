-- Sets the next due times of schedules whose runs have started. A plan that was made for another run, because somebody
-- else was faster or the schedule was changed, does nothing.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of schedules (1-1000), for each name, due time of the run that started, its
--          start, next due time
-- Reply    {next look in us or -1, now in us}
-- Cost     O(log n) a schedule.
--- @include clock
--- @include schedules
--- @include timetable

local plans = {}
for i = 1, tonumber(ARGV[3]) do
  local at = i * 4
  local name = ARGV[at]
  local plan = read_plan(name)
  if plan and not plans[name] and plan.state == 'S' and plan.run_due == tonumber(ARGV[at + 1])
    and plan.start == tonumber(ARGV[at + 2]) then
    plan.state, plan.due = 'W', tonumber(ARGV[at + 3])
    plans[name] = plan
  end
end
for name, plan in pairs(plans) do
  put_plan(name, plan)
  look_at(name, plan.due)
end
return { next_look(), now }
