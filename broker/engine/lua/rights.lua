-- Tells which of the commands that scripts use Redis does not let this user run. Changes nothing.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel
-- Reply    names of those commands, in capitals
-- Cost     O(1): each command once.
local key, channel = KEYS[1] .. 'rights', ARGV[2] .. ':rights'

-- Each with arguments that do nothing where nothing is: after the first the key holds a number, so that commands on
-- lists, sets and hashes fail, and the last removes it. Nobody listens to the channel.
local commands = {
  {'INCR', key},
  {'DECR', key},
  {'EXISTS', key},
  {'GET', key},
  {'GETRANGE', key, 0, 0},
  {'HDEL', key, 'x'},
  {'HEXISTS', key, 'x'},
  {'HGET', key, 'x'},
  {'HINCRBY', key, 'x', 0},
  {'HLEN', key},
  {'HMGET', key, 'x'},
  {'HRANDFIELD', key, 1},
  {'HSCAN', key, 0},
  {'HSET', key, 'x', ''},
  {'HSTRLEN', key, 'x'},
  {'HVALS', key},
  {'LLEN', key},
  {'LPUSH', key, 'x'},
  {'LRANGE', key, 0, 0},
  {'LTRIM', key, 0, 0},
  {'PEXPIRE', key, 1000},
  {'PTTL', key},
  {'PUBLISH', channel, ''},
  {'RPUSH', key, 'x'},
  {'SADD', key, 'x'},
  {'SCARD', key},
  {'SET', key, '0'},
  {'SINTER', key},
  {'SISMEMBER', key, 'x'},
  {'SMEMBERS', key},
  {'SPOP', key},
  {'SRANDMEMBER', key, 1},
  {'SREM', key, 'x'},
  {'STRLEN', key},
  {'TIME'},
  {'ZADD', key, 0, 'x'},
  {'ZCARD', key},
  {'ZCOUNT', key, 0, 0},
  {'ZMSCORE', key, 'x'},
  {'ZRANGE', key, 0, 0},
  {'ZRANGEBYLEX', key, '-', '+'},
  {'ZRANGEBYSCORE', key, 0, 0},
  {'ZREM', key, 'x'},
  {'ZREMRANGEBYRANK', key, 0, 0},
  {'ZREMRANGEBYSCORE', key, 0, 0},
  {'ZSCORE', key, 'x'},
  {'UNLINK', key},
  {'DEL', key},
}

local lacking = {}
for _, command in ipairs(commands) do
  local reply = redis.pcall(unpack(command))
  local said = type(reply) == 'table' and reply.err or ''
  -- As Redis up to 7.0, and since 7.2, says it.
  if string.find(said, "executing the script can't", 1, true) or string.find(said, 'NOPERM', 1, true)
    or string.find(said, 'ACL failure', 1, true) then
    lacking[#lacking + 1] = command[1]
  end
end
return lacking
