-- Whether an entry of a queue's ready list leads to an item that is ready there: entries cannot be taken out of the
-- middle of a list, so some are stale. `run` is parsed, or nil if there is none. What cannot be read is not ready.
--- @include aside
--- @include records
local function is_ready(id, record, run, tail)
  local spec = record and not (run and run.state ~= 'W') and record_spec(record)
  return spec and spec.tail == tail and not redis.call('ZSCORE', P .. 'delayed:' .. tail, id) and not why_aside(id)
end

-- A queue is known once something was put in or a priority was set, until it is deleted.
local function is_known(kind, queue)
  return redis.call('HEXISTS', P .. 'seen:' .. kind, queue) == 1
    or redis.call('HEXISTS', P .. 'priority:' .. kind, queue) == 1
end
