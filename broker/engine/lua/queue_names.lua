-- Names the known queues of a kind.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind
-- Reply    {queues that something was put into, queues and their priorities in turn}
-- Cost     O(queues).
return { redis.call('HKEYS', KEYS[1] .. 'seen:' .. ARGV[3]), redis.call('HGETALL', KEYS[1] .. 'priority:' .. ARGV[3]) }
