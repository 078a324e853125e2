-- Names of the tasks of a skill set, for people.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, digest, names at most (1-1000)
-- Reply    names, in no order
-- Cost     O(names).
return redis.call('SRANDMEMBER', KEYS[1] .. 'skills:' .. ARGV[3], ARGV[4])
