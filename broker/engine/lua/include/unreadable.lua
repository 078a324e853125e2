-- Where items stand whose record or run cannot be read, as far as their texts tell: for taking them out and for counts
-- only, nothing is delivered by it.
--- @include dead
--- @include queues
--- @include records

-- Stands in for the spec of such an item; nil if nothing tells. `run` is parsed, or nil if there is none.
local function place_of(record, run)
  local spec = run and run.spec or record and record_spec(record)
  if spec or not record then
    return spec or nil
  end
  local kind, queue, rest = string.match(record, '^%d+ %d+ ([td]) ([%w_./@-]+) ([^\n]*)')
  return kind and {
    kind = kind, queue = queue, tail = kind .. ':' .. queue, keep = 0,
    dead = string.match(rest, '^%S+ %S+ %S+ %S+ %S+ %S+ ([%w_./@-]+)'),
  }
end

-- Takes an item out of what holds it.
local function uproot(id, place)
  if redis.call('ZREM', P .. 'leased:' .. place.tail, id) == 1
    or redis.call('ZREM', P .. 'delayed:' .. place.tail, id) == 1 then
    return
  end
  if place.dead and redis.call('ZSCORE', P .. 'dead:' .. place.kind .. ':' .. place.dead, id) then
    leave_dead(place, { id })
  else
    leave_stale(place)
  end
end
