-- Sets or clears the priority of a queue, known or not, unless too many have one.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, priority ("" none), queues of that kind that may have one
-- Reply    1 done, 0 so many others have one
-- Cost     O(log n).
--- @drains
--- @include records
--- @include queues

local kind, queue, priority, most = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local priorities = P .. 'priority:' .. kind
if priority ~= '' and redis.call('HEXISTS', priorities, queue) == 0 and redis.call('HLEN', priorities) >= most then
  return 0
end
if priority == '' then
  redis.call('HDEL', priorities, queue)
else
  redis.call('HSET', priorities, queue, priority)
end
if redis.call('ZSCORE', P .. 'ready:' .. kind, queue) then
  redis.call('ZADD', P .. 'ready:' .. kind, priority == '' and NO_PRIORITY or priority, queue)
end
return 1
