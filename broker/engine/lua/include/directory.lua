-- Directories: things with a name and an end, which are listed by name. A directory `d` is
--   d        hash  name → value
--   d:names  zset  names, all with score 0 and so in the order of their bytes
--   d:ends   zset  name → time from which on the thing is there no more, whether it was removed already or not
--- @include clock
--- @include records
local function put_entry(directory, name, value, ends)
  redis.call('HSET', P .. directory, name, value)
  redis.call('ZADD', P .. directory .. ':names', 0, name)
  redis.call('ZADD', P .. directory .. ':ends', int(ends), name)
end

local function drop_entries(directory, names)
  if #names > 0 then
    call_many('HDEL', P .. directory, names)
    call_many('ZREM', P .. directory .. ':names', names)
    call_many('ZREM', P .. directory .. ':ends', names)
  end
end

-- Answers the value, if the thing is there, and its end.
local function get_entry(directory, name)
  local ends = tonumber(redis.call('ZSCORE', P .. directory .. ':ends', name))
  if ends and ends > now then
    return redis.call('HGET', P .. directory, name), ends
  end
end

-- How many things are there.
local function live_entries(directory)
  return redis.call('ZCOUNT', P .. directory .. ':ends', '(' .. int(now), '+inf')
end

-- Removes up to 100 things whose end has come. Whatever adds to a directory calls this, so that none grows for ever.
local function drop_ended(directory)
  drop_entries(directory, redis.call('ZRANGEBYSCORE', P .. directory .. ':ends', '-inf', int(now), 'LIMIT', 0, 100))
end
