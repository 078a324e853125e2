-- Which dead letters a step of a redrive or a purge is about, from
--   ARGV  namespace, channel, kind, dead-letter queue, last time of death in us ("" now), items at most (1-1000),
--         number of ids (0: the oldest deaths), ids
-- The step replies {now in us, items done, items left up to that time, ""}, or if one of the ids is not there
-- {now, 0, 0, that id}, having done nothing.
--- @include clock
--- @include records
local kind, dead_queue, last, budget = ARGV[3], ARGV[4], ARGV[5], tonumber(ARGV[6])
local dead_set = P .. 'dead:' .. kind .. ':' .. dead_queue

-- Ids in groups, each with the spec that its items share, all ids, and those whose runs cannot be read; or nothing and an
-- id that is not there.
local function chosen_groups()
  local ids, seen = {}, {}
  if last == '' then
    last = int(now)
  end
  for i = 1, tonumber(ARGV[7]) do
    local id = ARGV[7 + i]
    if not redis.call('ZSCORE', dead_set, id) then
      return nil, id
    end
    if not seen[id] then
      seen[id] = true
      ids[#ids + 1] = id
    end
  end
  if ARGV[7] == '0' then
    ids = redis.call('ZRANGEBYSCORE', dead_set, '-inf', last, 'LIMIT', 0, budget)
  end
  local groups, order, unreadable = {}, {}, {}
  if #ids > 0 then
    for i, text in ipairs(redis.call('HMGET', P .. 'run', unpack(ids))) do
      local spec = text and parse_run(text).spec
      if spec then
        local group = groups[spec]
        if not group then
          group = { spec = spec }
          groups[spec] = group
          order[#order + 1] = group
        end
        group[#group + 1] = ids[i]
      else
        unreadable[#unreadable + 1] = ids[i]
      end
    end
  end
  return order, ids, unreadable
end

local function dead_left()
  return redis.call('ZCOUNT', dead_set, '-inf', last)
end
