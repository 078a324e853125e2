-- Makes delayed items due now, the next ones first.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queue, items at most (1-1000)
-- Reply    {ids, items left}
-- Cost     O(log n) an item.
--- @drains
--- @include records
--- @include queues

local spec = { kind = ARGV[3], queue = ARGV[4], tail = ARGV[3] .. ':' .. ARGV[4] }
local set = P .. 'delayed:' .. spec.tail
local ids = redis.call('ZRANGE', set, 0, tonumber(ARGV[5]) - 1)
if #ids > 0 then
  call_many('ZREM', set, ids)
  push_ready(spec, ids)
end
return { ids, redis.call('ZCARD', set) }
