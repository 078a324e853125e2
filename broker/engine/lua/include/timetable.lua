-- When the next schedule is to be looked at, or -1.
--- @include records
local function next_look()
  local head = redis.call('ZRANGE', P .. 'timetable', 0, 0, 'WITHSCORES')
  return head[2] and tonumber(head[2]) or -1
end
