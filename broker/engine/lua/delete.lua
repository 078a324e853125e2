-- Removes items by id wherever they are, and what is kept of finished ones. Nothing is kept of them.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of ids (1-1000), ids
-- Reply    for each 1 it was there, 0 not
-- Cost     O(log n) an id.
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include dead
--- @include endings
--- @include aside
--- @include leased
--- @include parked
--- @include locate

local function delete(id)
  if redis.call('DEL', P .. 'end:' .. id) == 1 then
    return 1
  end
  local record = redis.call('HGET', P .. 'item', id)
  if not record then
    return 0
  end
  local text = redis.call('HGET', P .. 'run', id)
  local run = text and parse_run(text)
  detach(id, run and run.spec or record_spec(record), run)
  forget(id)
  changed(id)
  if run and (run.state == 'L' or run.state == 'O') then
    -- Its worker had better stop.
    publish('c', id .. ' ' .. int(run.token))
  end
  return 1
end

local outcomes = {}
for i = 1, tonumber(ARGV[3]) do
  outcomes[i] = delete(ARGV[3 + i])
end
return outcomes
