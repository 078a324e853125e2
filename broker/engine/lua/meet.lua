-- Notes that a broker is there, and tells whether all others are of a version that is known here.
--
-- KEYS[1]  prefix "dibs:" of what belongs to no namespace
-- ARGV     "", channel, name of the broker, format that it writes, us until it must have been heard of again (0: it goes)
-- Reply    {brokers that have been heard of, the lowest format of them, brokers that listen to the channel, those of earlier
--          versions too, the generation of the data: another one when Redis has lost everything}
-- Cost     O(brokers).
--- @include clock
--- @include records

local name, format, lifetime = ARGV[3], ARGV[4], tonumber(ARGV[5])
local brokers = P .. 'brokers'
redis.call('ZREMRANGEBYSCORE', brokers, '-inf', int(now))
if lifetime > 0 then
  redis.call('ZADD', brokers, int(now + lifetime), name .. ' ' .. format)
else
  redis.call('ZREM', brokers, name .. ' ' .. format)
end
local lowest
local members = redis.call('ZRANGE', brokers, 0, -1)
for _, member in ipairs(members) do
  local number = tonumber(string.match(member, ' (%d+)$')) or 0
  lowest = math.min(lowest or number, number)
end
redis.call('SETNX', P .. 'generation', name .. ' ' .. int(now))
local generation = redis.call('GET', P .. 'generation')
return { #members, lowest or 0, redis.call('PUBSUB', 'NUMSUB', ARGV[2])[2], generation }
