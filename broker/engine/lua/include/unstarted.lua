-- Whether an item is there and has not started: it was never delivered, or every delivery was handed back unused.
-- Answers its spec and its parsed run, if it has one. One that cannot be read or is set aside counts as started, so that
-- nothing waits for it.
--- @include aside
--- @include records
local function unstarted(id)
  local record = redis.call('HGET', P .. 'item', id)
  local text = record and redis.call('HGET', P .. 'run', id)
  local run = text and parse_run(text) or nil
  if record and (not run or (run.state == 'W' and run.used == 0)) and not why_aside(id) then
    return run and run.spec or record_spec(record), run
  end
end
