-- Tells whether somebody works in a namespace.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel
-- Reply    {connected workers, queues of which items are leased}
-- Cost     O(queues with something delayed or leased).
--- @include clock
--- @include records

local leased = 0
for _, member in ipairs(redis.call('ZRANGE', P .. 'due', 0, -1)) do
  if string.sub(member, 1, 7) == 'leased:' and redis.call('EXISTS', P .. member) == 1 then
    leased = leased + 1
  end
end
return { redis.call('ZCOUNT', P .. 'worker:ends', int(now), '+inf'), leased }
