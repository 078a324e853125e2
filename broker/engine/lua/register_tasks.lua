-- Notes what callers without a task's code need to know of it.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, us until a task is forgotten, number of tasks (1-1000), for each
--          name, definition
-- Reply    1
-- Cost     O(log n) a task.
--- @include clock
--- @include records
--- @include directory

drop_ended('task')
for i = 1, tonumber(ARGV[4]) do
  put_entry('task', ARGV[3 + i * 2], int(now) .. ' ' .. ARGV[4 + i * 2], now + tonumber(ARGV[3]))
end
return 1
