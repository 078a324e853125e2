-- Counts the bytes of a namespace's records, a step at a time, while items come and go. Any number of brokers may do so at
-- once: it is one count. One that is done stays right, for all scripts tell it what they put in and take out.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, time in us (a count from then on or before is begun anew), bytes of records that a step
--          reads, about
-- Reply    1 the count is done, 0 it is not
-- Cost     O(records that it reads).
--- @include clock
--- @include records
--- @include bytes

local found = redis.call('HMGET', P .. 'bytes', 'total', 'since', 'cursor')
local cursor = found[3]
if not found[1] or tonumber(found[2]) <= tonumber(ARGV[3]) then
  redis.call('UNLINK', P .. 'weighed')
  redis.call('HSET', P .. 'bytes', 'total', 0, 'since', int(now), 'cursor', 0)
  cursor = 0
elseif not cursor then
  return 1
end

-- There is no way to read the ids without the records, and nobody knows how large these are but from those before.
local weighed = redis.call('SCARD', P .. 'weighed')
local mean = weighed > 0 and math.max(1, tonumber(found[1]) / weighed) or tonumber(ARGV[4]) / 16
local step = redis.call('HSCAN', P .. 'item', cursor, 'COUNT', int(math.min(1000, math.max(8, tonumber(ARGV[4]) / mean))))
are_bytes_counted()
for i = 1, #step[2], 2 do
  if redis.call('SISMEMBER', P .. 'weighed', step[2][i]) == 0 then
    move_bytes(step[2][i], #step[2][i + 1])
  end
end
write_bytes()
if step[1] ~= '0' then
  redis.call('HSET', P .. 'bytes', 'cursor', step[1])
  return 0
end
redis.call('HDEL', P .. 'bytes', 'cursor')
redis.call('UNLINK', P .. 'weighed')
return 1
