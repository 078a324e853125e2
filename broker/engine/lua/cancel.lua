-- Cancels items by id.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of ids (1-1000), ids
-- Reply    one code an id: 1 removed before it started, 2 running and told, 3 finished and its result dropped,
--          0 nothing known (or dead, which is for operators to handle)
-- Cost     O(log n) an id.
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include endings
--- @include dead
--- @include aside
--- @include leased
--- @include parked
--- @include locate

local function cancel(id)
  if redis.call('DEL', P .. 'end:' .. id) == 1 then
    return 3
  end
  local text = redis.call('HGET', P .. 'run', id)
  local run = text and parse_run(text)
  if run and run.state == 'X' then
    return 0
  end
  if run and run.state ~= 'W' and run.deadline > now then
    run.cancel = true
    redis.call('HSET', P .. 'run', id, format_run(run))
    publish('c', id .. ' ' .. int(run.token))
    return 2
  end
  local record = not run and redis.call('HGET', P .. 'item', id)
  if not run and not record then
    return 0
  end
  local spec = run and run.spec or record_spec(record)
  detach(id, spec, run)
  end_cancelled(id, spec, run and run.used or 0)
  return 1
end

local outcomes = {}
for i = 1, tonumber(ARGV[3]) do
  outcomes[i] = cancel(ARGV[3 + i])
end
return outcomes
