-- Ids of a task queue's items, a stretch of them. Changes nothing.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, queue, section, then
--          "ready": first and last position in the list
--          "leased": end of the lease in us from which on, items at most
-- Reply    {now in us, length of the section, ids, for "leased" their tokens (0: cannot be read), ends of their leases
--          in us}
-- Cost     O(log n + ids).
--- @include clock
--- @include records

local tail, section = 't:' .. ARGV[3], ARGV[4]

-- Entries that lead nowhere, if the queue has any, but for those of items that went to another queue.
local function without_stale(ids)
  if #ids == 0 or redis.call('HEXISTS', P .. 'stale:t', ARGV[3]) == 0 then
    return ids
  end
  local kept = {}
  for i, text in ipairs(redis.call('HMGET', P .. 'run', unpack(ids))) do
    local id = ids[i]
    if (not text or parse_run(text).state == 'W') and redis.call('HEXISTS', P .. 'item', id) == 1
      and not redis.call('ZSCORE', P .. 'delayed:' .. tail, id) then
      kept[#kept + 1] = id
    end
  end
  return kept
end

if section == 'ready' then
  local list = P .. 'queue:' .. tail
  return { now, redis.call('LLEN', list), without_stale(redis.call('LRANGE', list, ARGV[5], ARGV[6])), {}, {} }
end
local set = P .. 'leased:' .. tail
local found = redis.call('ZRANGEBYSCORE', set, ARGV[5], '+inf', 'WITHSCORES', 'LIMIT', 0, ARGV[6])
local ids, ends, tokens = {}, {}, {}
for i = 1, #found, 2 do
  ids[#ids + 1], ends[#ends + 1] = found[i], int(tonumber(found[i + 1]))
end
if #ids > 0 then
  for i, text in ipairs(redis.call('HMGET', P .. 'run', unpack(ids))) do
    tokens[i] = int(text and parse_run(text).token or 0)
  end
end
return { now, redis.call('ZCARD', set), ids, tokens, ends }
