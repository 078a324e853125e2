-- Items that no delivery can carry: each is set aside by itself, so that the others go on.
--   aside:k:q   zset  id → when it was set aside
--   whyaside    hash  id → "<kind> <queue> <why>"
-- Its record and its run stay where they are, as they are. Whoever sets an item aside has taken it out of the list or set
-- that it stood in.
--- @include clock
--- @include records
local RECORD_UNREADABLE = 'its record cannot be read: written by another version, or damaged'
local RUN_UNREADABLE = 'what is noted of its deliveries cannot be read: written by another version, or damaged'
local TOO_LARGE = 'it is larger than a message may be'

local any_aside

local function set_aside(id, kind, queue, why)
  redis.call('ZADD', P .. 'aside:' .. kind .. ':' .. queue, int(now), id)
  redis.call('HSET', P .. 'whyaside', id, kind .. ' ' .. queue .. ' ' .. why)
  any_aside = true
end

local function is_any_aside()
  if any_aside == nil then
    any_aside = redis.call('EXISTS', P .. 'whyaside') == 1
  end
  return any_aside
end

-- Why an item is set aside; nil if it is not.
local function why_aside(id)
  return is_any_aside() and redis.call('HGET', P .. 'whyaside', id) or nil
end

-- Takes an item out again; answers its kind and queue, nil if it was not set aside.
local function leave_aside(id)
  local text = why_aside(id)
  if not text then
    return nil
  end
  local kind, queue = string.match(text, '^(%S+) (%S+)')
  redis.call('HDEL', P .. 'whyaside', id)
  redis.call('ZREM', P .. 'aside:' .. kind .. ':' .. queue, id)
  return kind, queue
end
