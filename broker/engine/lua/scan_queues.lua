-- Names some of the known queues of a kind: a step through a hash that has them. Steps from "0" until "0" name all that are
-- there meanwhile, perhaps some of them twice.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind, "seen" or "priority", where to go on
-- Reply    {where to go on ("0" the end), queues, and what stands there for each}
-- Cost     O(1,000).
local step = redis.call('HSCAN', KEYS[1] .. ARGV[4] .. ':' .. ARGV[3], ARGV[5], 'COUNT', 1000)
local names, values = {}, {}
for i = 1, #step[2], 2 do
  names[#names + 1], values[#values + 1] = step[2][i], step[2][i + 1]
end
return { step[1], names, values }
