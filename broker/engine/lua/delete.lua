-- Removes items by id wherever they are, and what is kept of finished ones. Nothing is kept of them.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of ids (1-1000), ids
-- Reply    for each 1 it was there, 0 not
-- Cost     O(log n) an id.
--- @drains
--- @include records
--- @include events
--- @include endings
--- @include aside
--- @include locate
--- @include unreadable

-- What is there of an item; nil: nothing.
local function look(id)
  if redis.call('EXISTS', P .. 'end:' .. id) == 1 then
    return { ended = true }
  end
  local record, text = redis.call('HGET', P .. 'item', id), redis.call('HGET', P .. 'run', id)
  local run = text and parse_run(text) or nil
  local aside = why_aside(id)
  if record or aside then
    local readable = run and run.spec or not run and record and record_spec(record)
    return { aside = aside, run = run, spec = readable, place = not readable and place_of(record, run) }
  end
end

local function delete(id, found)
  if found.ended then
    redis.call('DEL', P .. 'end:' .. id)
    return
  end
  if found.aside then
    leave_aside(id)
  elseif found.spec then
    detach(id, found.spec, found.run)
  elseif found.place then
    uproot(id, found.place)
  end
  forget(id)
  changed(id)
  if found.run and (found.run.state == 'L' or found.run.state == 'O') then
    -- Its worker had better stop.
    publish('c', id .. ' ' .. int(found.run.token))
  end
end

local looks, ids, outcomes = {}, {}, {}
for i = 1, tonumber(ARGV[3]) do
  local id = ARGV[3 + i]
  -- The second time it is gone.
  local found = not looks[id] and look(id)
  if found then
    looks[id] = found
    ids[#ids + 1] = id
  end
  outcomes[i] = found and 1 or 0
end
for _, id in ipairs(ids) do
  delete(id, looks[id])
end
return outcomes
