-- Puts items into queues: a batch of requests, each with its own request id and items.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, window of request ids in ms, origin of hints, quotas (see include/quota.lua), number of
--          requests, then for each request
--          request id ("" for none), number of groups, and for each group of items that have it in common
--          number of items, spec, due ("" now, "+<us>" from now, "@<us>" at), conflict ("k" keep, "r" replace, "f" fail,
--          "u" replace unless it is leased, "r<token>" replace if it is leased under that token and nobody has cancelled
--          it), and for each item
--          id, body
-- Reply    {next due time in us or -1, 1 if bytes are limited and not counted (else 0), "<codes>" for each request}; a
--          request that is beyond a quota has "!<quota> <limit> <used>" there, is not remembered, and nothing of it was
--          done; else codes has one letter an item:
--          "c" created, "e" exists, "r" replaced, "w" leased (with "u"), "f" conflict (which it is as well if what is there
--          cannot be read)
-- Cost     O(1) an item, O(log n) a delayed one. At most 1,000 items a call.
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include aside
--- @include locate
--- @include expiring
--- @include bytes
--- @include quota

local window, requests = ARGV[3], tonumber(ARGV[6])
local at = 7
local ORIGIN = ARGV[4]

-- Read everything first: which requests are known, which ids.
local batches, ids, count, asked = {}, {}, 0, {}
for r = 1, requests do
  local batch = { request = ARGV[at], groups = tonumber(ARGV[at + 1]), first = at + 2 }
  if batch.request ~= '' then
    -- A retry may share this call with what it repeats.
    batch.same = asked[batch.request]
    asked[batch.request] = asked[batch.request] or batch
    batch.codes = not batch.same and redis.call('GET', P .. 'request:' .. batch.request)
  end
  batch.new = not batch.codes and not batch.same
  at = at + 2
  for _ = 1, batch.groups do
    local next_group = at + 4 + 2 * tonumber(ARGV[at])
    if batch.new then
      for i = at + 4, next_group - 1, 2 do
        count = count + 1
        ids[count] = ARGV[i]
      end
    end
    at = next_group
  end
  batches[r] = batch
end

-- What is known of ids: the spec of an item, "unreadable", "aside" or "ended".
local known, noted_aside = {}, {}
if count > 0 then
  local records = redis.call('HMGET', P .. 'item', unpack(ids))
  for i, record in ipairs(records) do
    if record then
      known[ids[i]] = record_spec(record) or 'unreadable'
    end
  end
  if redis.call('EXISTS', P .. 'ends', P .. 'whyaside') > 0 then
    if redis.call('EXISTS', P .. 'whyaside') == 1 then
      for i, why in ipairs(redis.call('HMGET', P .. 'whyaside', unpack(ids))) do
        -- The note may be all that is left: a broker of an earlier version removes items without it.
        noted_aside[ids[i]] = why and true
        known[ids[i]] = why and known[ids[i]] and 'aside' or known[ids[i]]
      end
    end
    local end_keys = {}
    for i, id in ipairs(ids) do
      end_keys[i] = P .. 'end:' .. id
    end
    if redis.call('EXISTS', unpack(end_keys)) > 0 then
      for i, key in ipairs(end_keys) do
        if not known[ids[i]] and redis.call('EXISTS', key) == 1 then
          known[ids[i]] = 'ended'
        end
      end
    end
  end
end

-- The parsed run of an item, nil if it has none; whether all of it can be read.
local function run_of(id, before)
  local text = before ~= 'ended' and before ~= 'aside' and redis.call('HGET', P .. 'run', id)
  local run = text and parse_run(text) or nil
  return run, before ~= 'unreadable' and run ~= UNREADABLE
end

-- Whether whoever holds that token may put the item's next attempt in its place.
local function holds(id, token)
  local text = redis.call('HGET', P .. 'run', id)
  if not text then
    return false
  end
  local state, current, run = split_run(text)
  return current == token and (state == 'L' or state == 'O') and run.deadline > now and not run.cancel
end

-- Whether somebody has an item now: begun or not, it may run.
local function is_out(run)
  return run and (run.state == 'L' or run.state == 'O') and run.deadline > now
end

local now_text = int(now)
local records, written, seen, delayed = {}, 0, {}, {}
local ready, order = {}, {}
local replaced, placed, overtaken, taken_back = {}, {}, {}, {}

-- Where quotas hold: what has to be undone if a request goes beyond one.
local quota = read_quota(ARGV[5])
local undo, sizes = nil, {}

local begin_undo, undo_all, note_taken
-- Made only then: every function that a script makes costs it something.
if quota then
  function begin_undo()
    undo = {
      lists = { { replaced, #replaced }, { overtaken, #overtaken }, { taken_back, #taken_back }, { delayed, #delayed } },
      written = written, order = #order, placed = {}, skipped = {}, counts = {}, seen = {},
    }
  end

  local function shorten(list, length)
    for i = #list, length + 1, -1 do
      list[i] = nil
    end
  end

  function undo_all()
    for _, list in ipairs(undo.lists) do
      shorten(list[1], list[2])
    end
    for i = #undo.placed, 1, -1 do
      local entry = undo.placed[i]
      placed[entry.id], sizes[entry.id] = entry.earlier, entry.size
    end
    for _, item in ipairs(undo.skipped) do
      item.skip = nil
    end
    for group, count in pairs(undo.counts) do
      shorten(group, count)
      group.count = count
    end
    for i = undo.order + 1, #order do
      ready[order[i].spec.tail] = nil
    end
    shorten(order, undo.order)
    for spec, count in pairs(undo.seen) do
      seen[spec] = count or nil
    end
    shorten(records, undo.written)
    written = undo.written
  end

  -- Notes what an item takes that has its place now; `before` as `known` has it, `earlier` its place in this call.
  function note_taken(id, size, before, earlier)
    undo.placed[#undo.placed + 1] = { id = id, earlier = earlier, size = sizes[id] }
    if not earlier and (not before or before == 'ended') then
      quota.takes_item()
    end
    local size_before = sizes[id]
    if not size_before then
      size_before = before and before ~= 'ended' and redis.call('HSTRLEN', P .. 'item', id) or 0
    end
    quota.takes_bytes(size - size_before)
    sizes[id] = size
  end
end

-- Notes where an item is to stand, and answers its code.
local function place(id, spec, due, conflict)
  local earlier = placed[id]
  local before = earlier or known[id]
  if #conflict > 1 and (earlier or not holds(id, string.sub(conflict, 2))) then
    return 'f'
  elseif before and (conflict == 'k' or conflict == 'f') then
    return conflict == 'f' and 'f' or 'e'
  end
  if earlier and earlier.due then
    earlier.skip = true
    if undo then
      undo.skipped[#undo.skipped + 1] = earlier
    end
  elseif earlier then
    overtaken[#overtaken + 1] = earlier.spec
  elseif before then
    local run, readable = run_of(id, before)
    if not readable then
      return 'f'
    elseif conflict == 'u' and is_out(run) then
      return 'w'
    end
    replaced[#replaced + 1] = { id = id, before = before, run = run }
  end
  if noted_aside[id] then
    taken_back[#taken_back + 1] = id
  end
  if due > now then
    -- Items of one call that are due together stay in their order: 1 us apart.
    local item = { id = id, spec = spec, due = due + #delayed }
    delayed[#delayed + 1] = item
    placed[id] = item
  else
    local group = ready[spec.tail]
    if not group then
      group = { spec = spec, count = 0 }
      ready[spec.tail] = group
      order[#order + 1] = group
    end
    if undo then
      undo.counts[group] = undo.counts[group] or group.count
    end
    group.count = group.count + 1
    group[group.count] = id
    placed[id] = group
  end
  return before and 'r' or 'c'
end

for _, batch in ipairs(batches) do
  if batch.new then
    local codes, n, first = {}, 0, batch.first
    if quota then
      begin_undo()
    end
    for _ = 1, batch.groups do
      local spec, due, conflict = spec_of(ARGV[first + 1]), ARGV[first + 2], ARGV[first + 3]
      local time = now
      if due ~= '' then
        local given = tonumber(string.sub(due, 2))
        time = math.max(now, string.sub(due, 1, 1) == '+' and now + given or given)
      end
      local head = now_text .. ' ' .. int(time) .. ' ' .. spec.text .. '\n'
      local last = first + 2 + 2 * tonumber(ARGV[first])
      local taken = 0
      for i = first + 4, last, 2 do
        local id = ARGV[i]
        local earlier = undo and placed[id]
        local code = place(id, spec, time, conflict)
        n = n + 1
        codes[n] = code
        if code == 'c' or code == 'r' then
          records[written + 1] = id
          records[written + 2] = head .. ARGV[i + 1]
          written = written + 2
          taken = taken + 1
          if undo then
            note_taken(id, #records[written], known[id], earlier)
          end
        end
      end
      if taken > 0 then
        if undo then
          if undo.seen[spec] == nil then
            undo.seen[spec] = seen[spec] or false
          end
          quota.takes_queue(spec)
        end
        seen[spec] = (seen[spec] or 0) + taken
      end
      first = last + 2
    end
    batch.refused = quota and quota.decide()
    if batch.refused then
      undo_all()
    end
    batch.codes = batch.refused or table.concat(codes)
  end
end

-- Then write.
for _, id in ipairs(taken_back) do
  leave_aside(id)
end
for _, entry in ipairs(replaced) do
  local id, before = entry.id, entry.before
  if before == 'ended' then
    redis.call('DEL', P .. 'end:' .. id)
  else
    if before ~= 'aside' then
      detach(id, before, entry.run)
    end
    redis.call('HDEL', P .. 'run', id)
    redis.call('HDEL', P .. 'error', id)
    redis.call('HDEL', P .. 'trouble', id)
  end
end
local any_expires = false
if written > 0 then
  put_items(records)
  for spec, count in pairs(seen) do
    redis.call('HINCRBY', P .. 'seen:' .. spec.kind, spec.queue, count)
    any_expires = any_expires or spec.expires
  end
  if any_expires then
    local last = {}
    for i = 1, written, 2 do
      last[records[i]] = records[i + 1]
    end
    for id, record in pairs(last) do
      local spec = record_spec(record)
      if spec.expires then
        note_expiring(spec, id, last_delivery(record, spec))
      end
    end
  end
  for _, item in ipairs(delayed) do
    if not item.skip then
      push_delayed(item.spec, item.id, item.due)
    end
  end
  for _, group in ipairs(order) do
    push_ready(group.spec, group, false, ORIGIN)
  end
  -- An id that one call puts twice stands in its list twice: the other entry is stale.
  for _, spec in ipairs(overtaken) do
    leave_stale(spec)
  end
end
local reply = { (#delayed > 0 or any_expires) and next_due() or -1, quota and quota.uncounted and 1 or 0 }
for r, batch in ipairs(batches) do
  reply[r + 2] = (batch.same or batch).codes
  if batch.new and batch.request ~= '' and not batch.refused then
    redis.call('SET', P .. 'request:' .. batch.request, batch.codes, 'PX', window)
  end
end
return reply
