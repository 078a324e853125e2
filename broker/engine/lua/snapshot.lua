-- Ids of a task queue's items, a stretch of them. Changes nothing.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, queue, section, then
--          "ready": first and last position in the list
--          "parked": a task, order after which to go on, items at most
--          "leased": end of the lease in us from which on, items at most
-- Reply    {now in us, length of the list (0 for other sections), ids, for "leased" their tokens (for "parked" with the
--          task "": the tasks), and from which end or order on to read what follows ("" nothing does); whoever reads on may
--          get some of them twice; for "leased" then for each 1 if its worker has not begun it, else 0}
-- Cost     O(log n + ids).
--- @include clock
--- @include records
--- @include leased
--- @include parked

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
  return { now, redis.call('LLEN', list), without_stale(redis.call('LRANGE', list, ARGV[5], ARGV[6])), {}, '' }
end
if section == 'parked' then
  local sets = parked_in('t', ARGV[3])
  if ARGV[5] == '' then
    local tasks = {}
    for i, set in ipairs(sets) do
      tasks[i] = set.task
    end
    return { now, 0, {}, tasks, '' }
  end
  local found = redis.call('ZRANGEBYSCORE', parked_key(tail, ARGV[5]), '(' .. ARGV[6], '+inf', 'WITHSCORES', 'LIMIT', 0,
    ARGV[7])
  local ids = {}
  for i = 1, #found, 2 do
    ids[#ids + 1] = found[i]
  end
  return { now, 0, ids, {}, #ids == tonumber(ARGV[7]) and int(tonumber(found[#found])) or '' }
end
local wanted, ids, tokens, unbegun, on = tonumber(ARGV[6]), {}, {}, {}, ''
local entries = redis.call('ZRANGEBYSCORE', P .. 'leased:' .. tail, ARGV[5], '+inf', 'WITHSCORES', 'LIMIT', 0, wanted)
for at = 1, #entries, 2 do
  if #ids >= wanted then
    break
  end
  local found, share = ids_of_entry(tail, entries[at])
  -- The last entry that was read, unless it is the last one there is.
  on = (at + 1 < #entries or #entries == 2 * wanted) and int(tonumber(entries[at + 1])) or ''
  for i, text in ipairs(hash_values('run', found)) do
    local run = text and parse_run(text) or UNREADABLE
    if run ~= UNREADABLE and (not share or is_in_share(run, share)) then
      local n = #ids + 1
      ids[n], tokens[n], unbegun[n] = found[i], int(run.token), run.unbegun and 1 or 0
    end
  end
end
return { now, 0, ids, tokens, on, unbegun }
