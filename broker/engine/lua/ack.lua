-- Finishes leased items, with or without a result.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of entries (1-1000), then for each
--          id, token ("" unfenced), result ("-" none, "R<bytes>")
-- Reply    one outcome code an entry, see fence.lua
-- Cost     O(log n) an entry.
--- @include clock
--- @include records
--- @include events
--- @include endings
--- @include fence

local count = tonumber(ARGV[3])
local ids, outcomes = {}, {}
for i = 1, count do
  ids[i] = ARGV[1 + i * 3]
end
local runs = redis.call('HMGET', P .. 'run', unpack(ids))

local done, leased, finished = {}, {}, {}
for i, id in ipairs(ids) do
  local state, token, run
  if runs[i] then
    state, token, run = split_run(runs[i])
  end
  local outcome = finished[id] and NOT_FOUND or fence(id, ARGV[2 + i * 3], state, token, run and run.deadline)
  outcomes[i] = outcome
  if outcome == OK then
    finished[id] = true
    done[#done + 1] = id
    local spec = run.spec
    local set = leased[spec]
    if not set then
      set = {}
      leased[spec] = set
    end
    set[#set + 1] = id
    keep_end(id, spec, 'S', run.used, ARGV[3 + i * 3])
  end
end
if #done > 0 then
  call_many('HDEL', P .. 'item', done)
  call_many('HDEL', P .. 'run', done)
  if redis.call('EXISTS', P .. 'error') == 1 then
    call_many('HDEL', P .. 'error', done)
  end
  for spec, set in pairs(leased) do
    call_many('ZREM', P .. 'leased:' .. spec.tail, set)
    redis.call('HINCRBY', P .. 'done:' .. spec.kind, spec.queue, #set)
  end
end
return outcomes
