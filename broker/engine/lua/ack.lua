-- Finishes leased items, with or without a result.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of entries (1-1000), arguments of each (3, or 2 if there are no results), then for
--          each id, token ("" unfenced), result ("-" none, "R<bytes>"); then tokens of shares that were received
-- Reply    one outcome code an entry, see fence.lua
-- Cost     O(log n) an entry.
--- @drains
--- @include records
--- @include events
--- @include leased
--- @include endings
--- @include fence
--- @include receipts
--- @include bytes

local count, width = tonumber(ARGV[3]), tonumber(ARGV[4])
local ids = {}
for i = 1, count do
  ids[i] = ARGV[5 + (i - 1) * width]
end
take_receipts(5 + count * width)
local runs = redis.call('HMGET', P .. 'run', unpack(ids))
local watched = are_watched()

local done, finished, outcomes, groups = {}, {}, {}, {}

-- The ids that are done of those that were leased together.
local function done_of(token, run)
  local place = run.spec.tail .. ' ' .. share_name(token, run.deadline)
  local group = groups[place]
  if not group then
    group = { spec = run.spec, token = token, deadline = run.deadline }
    groups[place] = group
  end
  return group
end

-- Items that were leased together have the same run, and so, under the same token, the same outcome.
local last_text, last_token, last_outcome, last_run, last_set
for i, id in ipairs(ids) do
  local base = 5 + (i - 1) * width
  local text, token = runs[i], ARGV[base + 1]
  if not text or text ~= last_text or token ~= last_token then
    local state, current, run
    if text then
      state, current, run = split_run(text)
    end
    if text and not state then
      last_outcome = NOT_FOUND
    else
      last_outcome = fence(id, token, state, current, run and run.deadline)
    end
    last_text, last_token, last_run = text, token, run
    last_set = last_outcome == OK and done_of(current, run)
  end
  if finished[id] then
    outcomes[i] = NOT_FOUND
  else
    outcomes[i] = last_outcome
    if last_outcome == OK then
      finished[id] = true
      done[#done + 1] = id
      last_set[#last_set + 1] = id
      if last_run.spec.keep > 0 or watched then
        keep_end(id, last_run.spec, 'S', last_run.used, width == 3 and ARGV[base + 2] or '-')
      end
    end
  end
end
if #done > 0 then
  drop_items(done)
  call_many('HDEL', P .. 'run', done)
  if redis.call('EXISTS', P .. 'error') == 1 then
    call_many('HDEL', P .. 'error', done)
  end
  if is_trouble() then
    call_many('HDEL', P .. 'trouble', done)
    for i, id in ipairs(done) do
      done[i] = id .. ' r'
    end
    call_many('HDEL', P .. 'trouble', done)
  end
  local counts = {}
  for _, group in pairs(groups) do
    leave_leased(group.spec.tail, group.token, group.deadline, group)
    counts[group.spec] = (counts[group.spec] or 0) + #group
  end
  for spec, count_done in pairs(counts) do
    redis.call('HINCRBY', P .. 'done:' .. spec.kind, spec.queue, count_done)
  end
end
return outcomes
