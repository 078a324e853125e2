-- Counts the connected workers that can run tasks.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of tasks (1-1000), their names
-- Reply    one number a task
-- Cost     O(tasks * skill sets in use), which are as many as there are different programs.
--- @include skills

local counts = {}
for i = 1, tonumber(ARGV[3]) do
  counts[i] = workers_knowing(ARGV[3 + i])
end
return counts
