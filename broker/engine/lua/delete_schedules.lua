-- Removes schedules and their runs that have not started.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of names (1-1000), names
-- Reply    for each 1 it was there, 0 not
-- Cost     O(log n) a schedule.
--- @drains
--- @include withdraw

local found, named, outcomes = {}, {}, {}
for i = 1, tonumber(ARGV[3]) do
  local name = ARGV[3 + i]
  local schedule = not named[name] and find_schedule(name)
  named[name] = true
  found[#found + 1] = schedule or nil
  outcomes[i] = schedule and 1 or 0
end
for _, schedule in ipairs(found) do
  remove_schedule(schedule)
end
return outcomes
