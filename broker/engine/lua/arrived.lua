-- Notes that answers of leases have arrived and that shares have been received, when nothing else goes to Redis.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of callers, for each its name and the number of its call, number of tokens, tokens
-- Reply    1
-- Cost     O(callers + tokens).
--- @include records

local at = 3
for i = 1, tonumber(ARGV[at]) do
  local key = P .. 'answer:' .. ARGV[at + 2 * i - 1]
  if tonumber(redis.call('GETRANGE', key, 0, 14)) == tonumber(ARGV[at + 2 * i]) then
    -- The number stays, longer than a call may be on its way: a copy of it that was held up must not be carried out.
    redis.call('SET', key, string.format('%015d0', ARGV[at + 2 * i]), 'PX', 600000)
    redis.call('UNLINK', P .. 'copies:' .. ARGV[at + 2 * i - 1])
  end
end
at = at + 2 * tonumber(ARGV[at]) + 1
if ARGV[at] ~= '0' then
  redis.call('ZREM', P .. 'unreceived', unpack(ARGV, at + 1))
end
return 1
