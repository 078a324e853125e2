-- Where leases stand until they end.
--   leased:k:q     zset  id → deadline; for items that one call leased together instead "*<share>" → their deadline, with
--                        <share> = "<token>.<deadline>"
--   shareids:k:q   hash  share → its ids, one a line
--   shareleft:k:q  hash  share → how many of them still are leased so
-- An item whose run has that token and that deadline stands in that share, if there is such a share, and else under its id.
--- @include queues
--- @include records

-- `token` is text, here and below: numbers lose digits when they are joined.
local function share_name(token, deadline)
  return token .. '.' .. int(deadline)
end

-- Puts ids in that were leased under one token until one deadline; from `share_from` ids on as a share (0: never).
local function enter_leased(spec, token, deadline, ids, share_from)
  local set = P .. 'leased:' .. spec.tail
  if share_from > 0 and #ids >= share_from then
    local share = share_name(token, deadline)
    redis.call('ZADD', set, int(deadline), '*' .. share)
    redis.call('HSET', P .. 'shareids:' .. spec.tail, share, table.concat(ids, '\n'))
    redis.call('HSET', P .. 'shareleft:' .. spec.tail, share, #ids)
  else
    local entries, time = {}, int(deadline)
    for i, id in ipairs(ids) do
      entries[2 * i - 1], entries[2 * i] = time, id
    end
    call_many('ZADD', set, entries)
  end
  due_by('leased', spec, deadline)
end

local function drop_share(tail, share)
  redis.call('ZREM', P .. 'leased:' .. tail, '*' .. share)
  redis.call('HDEL', P .. 'shareids:' .. tail, share)
  redis.call('HDEL', P .. 'shareleft:' .. tail, share)
end

-- Takes ids out whose runs have this token (as text) and this deadline, each once.
local function leave_leased(tail, token, deadline, ids)
  local share = share_name(token, deadline)
  if redis.call('HEXISTS', P .. 'shareleft:' .. tail, share) == 0 then
    call_many('ZREM', P .. 'leased:' .. tail, ids)
  elseif redis.call('HINCRBY', P .. 'shareleft:' .. tail, share, -#ids) <= 0 then
    drop_share(tail, share)
  end
end

-- Gives one lease another deadline, and answers that.
local function move_lease(spec, id, token, deadline, new_deadline)
  local left, share = P .. 'shareleft:' .. spec.tail, share_name(token, deadline)
  if redis.call('HEXISTS', left, share) == 1 and redis.call('HINCRBY', left, share, -1) <= 0 then
    drop_share(spec.tail, share)
  end
  -- Not that of a share: it would seem to stand in it.
  while redis.call('HEXISTS', left, share_name(token, new_deadline)) == 1 do
    new_deadline = new_deadline + 1
  end
  redis.call('ZADD', P .. 'leased:' .. spec.tail, int(new_deadline), id)
  due_by('leased', spec, new_deadline)
  return new_deadline
end

-- The ids of an entry of a leased set, with the share they stand in (nil: none). Of a share also those that have left it.
local function ids_of_entry(tail, entry)
  if string.byte(entry) ~= 0x2A then
    return { entry }
  end
  local share, ids = string.sub(entry, 2), {}
  for id in string.gmatch(redis.call('HGET', P .. 'shareids:' .. tail, share) or '', '[^\n]+') do
    ids[#ids + 1] = id
  end
  return ids, share
end

-- Whether a run (parsed) belongs to a share.
local function is_in_share(run, share)
  return (run.state == 'L' or run.state == 'O') and share_name(int(run.token), run.deadline) == share
end

-- How many items of a queue are leased.
local function count_leased(tail)
  local count = redis.call('ZCARD', P .. 'leased:' .. tail)
  for _, left in ipairs(redis.call('HVALS', P .. 'shareleft:' .. tail)) do
    count = count + tonumber(left) - 1
  end
  return count
end
