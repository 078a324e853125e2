-- Stops or starts deliveries from a queue. Leases look at the index of ready queues only, so it holds from the next one.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, 1 to pause or 0 to resume
-- Reply    1 changed, 0 it was so before, -1 the queue is not known
-- Cost     O(log n).
--- @drains
--- @include records
--- @include events
--- @include queues
--- @include parked
--- @include standing

local kind, queue = ARGV[3], ARGV[4]
if not is_known(kind, queue) then
  return -1
end
if ARGV[5] == '1' then
  redis.call('ZREM', P .. 'ready:' .. kind, queue)
  return redis.call('SADD', P .. 'paused:' .. kind, queue)
end
local changed_now = redis.call('SREM', P .. 'paused:' .. kind, queue)
if changed_now == 1 and redis.call('EXISTS', P .. 'queue:' .. kind .. ':' .. queue) == 1 then
  index_ready(kind, queue)
elseif changed_now == 1 and select(2, parked_in(kind, queue)) > 0 then
  wake(kind, queue)
end
return changed_now
