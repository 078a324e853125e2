-- Items that may wait only for so long after they were due; then nobody gets them any more.
--   expiring:k:q  zset  id → when it is to be looked whether it has waited too long; of items that wait
-- An entry says only when to look: what has become of the item meanwhile is asked then. Who takes an item takes the entry
-- out, who gives it back puts one in.
--- @include clock
--- @include queues
--- @include records

-- Until when an item may be delivered, by its record and its spec; nil: for ever.
local function last_delivery(record, spec)
  return spec.expires and tonumber(string.match(record, '^%d+ (%d+)')) + spec.expires or nil
end

-- `time`: when to look; not later than it expires.
local function note_expiring(spec, id, time)
  redis.call('ZADD', P .. 'expiring:' .. spec.tail, int(time), id)
  due_by('expiring', spec, time)
end

-- As `note_expiring`, of what is given back: it is looked at once.
local function note_waiting(spec, id)
  if spec.expires then
    note_expiring(spec, id, now)
  end
end
