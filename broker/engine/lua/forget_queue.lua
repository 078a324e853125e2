-- Deletes an empty queue: its counts, its priority, whether it is paused. What it left in dead-letter queues stays.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue
-- Reply    1 deleted, 0 there is something in it
-- Cost     O(log n).
--- @drains
local P, kind, queue = KEYS[1], ARGV[3], ARGV[4]
local tail = kind .. ':' .. queue
if redis.call('EXISTS', P .. 'queue:' .. tail, P .. 'delayed:' .. tail, P .. 'leased:' .. tail, P .. 'aside:' .. tail,
  P .. 'parkedin:' .. tail) > 0 then
  return 0
end
for _, name in ipairs({ 'seen:', 'done:', 'priority:', 'stale:' }) do
  redis.call('HDEL', P .. name .. kind, queue)
end
redis.call('SREM', P .. 'paused:' .. kind, queue)
return 1
