-- Cancels items by id.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of ids (1-1000), ids
-- Reply    one code an id: 1 removed before it started (now or earlier), 2 running and told, 3 finished and its result dropped,
--          0 nothing known (or dead, set aside or unreadable, which is for operators to handle)
-- Cost     O(log n) an id.
--- @drains
--- @include clock
--- @include records
--- @include events
--- @include endings
--- @include aside
--- @include locate

-- The code, and what removing takes: spec and parsed run.
local function look(id)
  local ending = redis.call('GETRANGE', P .. 'end:' .. id, 0, 3)
  if ending ~= '' then
    -- An earlier cancel has seen to it that no attempt was ever made: there is no result to drop.
    return ending == 'C 0 ' and 1 or 3
  end
  local text = redis.call('HGET', P .. 'run', id)
  local run = text and parse_run(text) or nil
  if run and (run.state == 'X' or run.state == '?') then
    return 0
  end
  if run and run.state ~= 'W' and run.deadline > now then
    return 2, run.spec, run
  end
  local record = redis.call('HGET', P .. 'item', id)
  local spec = record and record_spec(record)
  if not spec or why_aside(id) then
    return 0
  end
  return 1, spec, run
end

-- Who runs it hears of it by a hint; one who misses that finds it here, within this time.
local KEPT_MS, MOST_KEPT = 60000, 1000
local any_running

local function cancel(id, code, spec, run)
  if code == 3 then
    redis.call('DEL', P .. 'end:' .. id)
  elseif code == 2 then
    run.cancel = true
    redis.call('HSET', P .. 'run', id, format_run(run))
    if run.unbegun then
      changed(id)
    end
    local wish = id .. ' ' .. int(run.token)
    redis.call('LPUSH', P .. 'cancels', wish)
    any_running = true
    publish('c', wish)
  elseif code == 1 and spec then
    detach(id, spec, run)
    end_cancelled(id, spec, run and run.used or 0)
  end
end

local looks, outcomes = {}, {}
for i = 1, tonumber(ARGV[3]) do
  local id = ARGV[3 + i]
  looks[id] = looks[id] or { look(id) }
end
for i = 1, tonumber(ARGV[3]) do
  local id = ARGV[3 + i]
  -- An id that comes twice is cancelled twice: what the first has left is looked at anew.
  local found = looks[id] or { look(id) }
  looks[id] = nil
  cancel(id, unpack(found, 1, 3))
  outcomes[i] = found[1]
end
if any_running then
  redis.call('LTRIM', P .. 'cancels', 0, MOST_KEPT - 1)
  redis.call('PEXPIRE', P .. 'cancels', KEPT_MS)
end
return outcomes
