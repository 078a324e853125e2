-- Takes a known item out of wherever it stands, before it is removed or replaced.
local function detach(id, spec, run)
  local state = run and run.state or 'W'
  if state == 'L' or state == 'O' then
    redis.call('ZREM', P .. 'leased:' .. spec.tail, id)
  elseif state == 'X' then
    leave_dead(spec, { id })
  elseif redis.call('ZREM', P .. 'delayed:' .. spec.tail, id) == 0 then
    leave_stale(spec)
  end
end
