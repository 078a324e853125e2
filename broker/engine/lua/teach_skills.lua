-- Notes the names of the tasks of a skill set; see include/skills.lua.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, digest, ms until it must have been reported again, number of names (1-10000), names
-- Reply    1
-- Cost     O(names).
--- @drains
--- @include records

local names = {}
for i = 1, tonumber(ARGV[5]) do
  names[i] = ARGV[5 + i]
end
call_many('SADD', P .. 'skills:' .. ARGV[3], names)
redis.call('PEXPIRE', P .. 'skills:' .. ARGV[3], ARGV[4])
return 1
