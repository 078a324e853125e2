-- Finishes leased items, with or without a result.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of entries (1-1000), arguments of each (3, or 2 if there are no results), then for
--          each id, token ("" unfenced), result ("-" none, "R<bytes>"), then number of receipts, their tokens
-- Reply    one outcome code an entry, see fence.lua
-- Cost     O(log n) an entry.
--- @include clock
--- @include records
--- @include events
--- @include endings
--- @include fence

local width = tonumber(ARGV[4])
local ids, outcomes = {}, {}
for i = 1, tonumber(ARGV[3]) do
  ids[i] = ARGV[5 + (i - 1) * width]
end
local runs = redis.call('HMGET', P .. 'run', unpack(ids))

local done, count, leased, finished = {}, 0, {}, {}
for i, id in ipairs(ids) do
  local base = 5 + (i - 1) * width
  local state, token, run
  if runs[i] then
    state, token, run = split_run(runs[i])
  end
  local outcome = finished[id] and NOT_FOUND or fence(id, ARGV[base + 1], state, token, run and run.deadline)
  outcomes[i] = outcome
  if outcome == OK then
    finished[id] = true
    count = count + 1
    done[count] = id
    local spec = run.spec
    local set = leased[spec]
    if not set then
      set = { size = 0 }
      leased[spec] = set
    end
    set.size = set.size + 1
    set[set.size] = id
    if spec.keep > 0 or are_watched() then
      keep_end(id, spec, 'S', run.used, width == 3 and ARGV[base + 2] or '-')
    end
  end
end
local receipts = 5 + tonumber(ARGV[3]) * width
if #ARGV > receipts then
  redis.call('ZREM', P .. 'unreceived', unpack(ARGV, receipts + 1))
end
if count > 0 then
  if redis.call('EXISTS', P .. 'trouble') == 1 then
    call_many('HDEL', P .. 'trouble', done)
  end
  call_many('HDEL', P .. 'item', done)
  call_many('HDEL', P .. 'run', done)
  if redis.call('EXISTS', P .. 'error') == 1 then
    call_many('HDEL', P .. 'error', done)
  end
  for spec, set in pairs(leased) do
    call_many('ZREM', P .. 'leased:' .. spec.tail, set)
    redis.call('HINCRBY', P .. 'done:' .. spec.kind, spec.queue, set.size)
  end
end
return outcomes
