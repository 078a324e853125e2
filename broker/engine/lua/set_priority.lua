-- Sets or clears the priority of a queue, known or not.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, priority ("" none)
-- Reply    1
-- Cost     O(log n).
--- @drains
--- @include records
--- @include queues

local kind, queue, priority = ARGV[3], ARGV[4], ARGV[5]
if priority == '' then
  redis.call('HDEL', P .. 'priority:' .. kind, queue)
else
  redis.call('HSET', P .. 'priority:' .. kind, queue, priority)
end
if redis.call('ZSCORE', P .. 'ready:' .. kind, queue) then
  redis.call('ZADD', P .. 'ready:' .. kind, priority == '' and NO_PRIORITY or priority, queue)
end
return 1
