-- Notes what callers without a task's code need to know of it.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, us until a task is forgotten, number of tasks (1-1000), tasks at most (0: any
--          number), for each name, definition
-- Reply    1, or a refusal (see include/quota.lua): so many others are registered
-- Cost     O(log n) a task.
--- @include clock
--- @include records
--- @include directory
--- @include quota

drop_ended('task')
local count, most = tonumber(ARGV[4]), tonumber(ARGV[5])
if most > 0 then
  local known, more, seen = live_entries('task'), 0, {}
  for i = 1, count do
    local name = ARGV[4 + i * 2]
    if not seen[name] and not get_entry('task', name) then
      more = more + 1
    end
    seen[name] = true
  end
  if more > 0 and known + more > most then
    return refusal('tasks', most, known)
  end
end
for i = 1, count do
  put_entry('task', ARGV[4 + i * 2], int(now) .. ' ' .. ARGV[5 + i * 2], now + tonumber(ARGV[3]))
end
return 1
