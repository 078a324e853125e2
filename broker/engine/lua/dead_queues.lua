-- Lists the dead-letter queues of a kind that have something in them.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, queues at most (1-10000)
-- Reply    {names, sizes, times of the first death in us}, in no order
-- Cost     O(queues).
--- @include records

local names, sizes, times = {}, {}, {}
for i, name in ipairs(redis.call('SMEMBERS', P .. 'deadqueues:' .. ARGV[3])) do
  if i > tonumber(ARGV[4]) then
    break
  end
  local set = P .. 'dead:' .. ARGV[3] .. ':' .. name
  local head = redis.call('ZRANGE', set, 0, 0, 'WITHSCORES')
  if head[2] then
    names[#names + 1], sizes[#sizes + 1], times[#times + 1] = name, redis.call('ZCARD', set), int(tonumber(head[2]))
  end
end
return { names, sizes, times }
