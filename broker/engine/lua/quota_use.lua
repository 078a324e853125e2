-- Tells how much is in a namespace of what quotas are about.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel
-- Reply    {items, bytes (-1: they are not counted), queues, schedules, locks, tasks}
-- Cost     O(log n).
--- @include clock
--- @include records
--- @include directory

local bytes = redis.call('HMGET', P .. 'bytes', 'total', 'cursor')
return {
  redis.call('HLEN', P .. 'item'), bytes[1] and not bytes[2] and tonumber(bytes[1]) or -1,
  redis.call('HLEN', P .. 'seen:t') + redis.call('HLEN', P .. 'seen:d'), redis.call('HLEN', P .. 'schedule'),
  live_entries('lock'), live_entries('task'),
}
