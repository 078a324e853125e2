-- Sets aside a dead letter that cannot be handed out or sent back, under the queue that it came from, or if that cannot
-- be told under the name of its dead-letter queue. Not more than its entry may be left of it.
--- @include aside
--- @include dead
--- @include events
--- @include records
--- @include unreadable
local function set_dead_aside(id, kind, dead_queue, record, run, why)
  local place = place_of(record, run)
  leave_dead({ kind = kind, dead = dead_queue, queue = place and place.queue }, { id })
  if record then
    local queue = place and place.queue or dead_queue
    -- That makes it a known queue, or it could not be looked at.
    redis.call('HINCRBY', P .. 'seen:' .. kind, queue, 0)
    set_aside(id, kind, queue, why or record_spec(record) and RUN_UNREADABLE or RECORD_UNREADABLE)
  else
    redis.call('HDEL', P .. 'run', id)
    redis.call('HDEL', P .. 'error', id)
  end
  changed(id)
end
