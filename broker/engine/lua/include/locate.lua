-- Takes a known item out of wherever it stands, before it is removed or replaced. Its run, if it has one, says that better
-- than its record: what the producer left open stands in the run alone.
--- @include aside
--- @include dead
--- @include leased
--- @include parked
--- @include queues
--- @include records
local function detach(id, spec, run)
  local state = run and run.state or 'W'
  spec = run and run.spec or spec
  if spec.expires then
    redis.call('ZREM', P .. 'expiring:' .. spec.tail, id)
  end
  if leave_aside(id) then
    return
  elseif state == 'L' or state == 'O' then
    leave_leased(spec.tail, int(run.token), run.deadline, { id })
  elseif state == 'X' then
    leave_dead(spec, { id })
  elseif redis.call('ZREM', P .. 'delayed:' .. spec.tail, id) == 0 and not leave_parked(id, spec) then
    leave_stale(spec)
  end
end
