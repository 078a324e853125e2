-- Whether a token names the current lease of an item. Outcome codes shared by ack, nack and refresh:
--   0 OK   1 NOT_FOUND   2 LEASE_EXPIRED   3 LEASE_SUPERSEDED
-- An empty token is unfenced: whatever lease is current.
--- @include clock
--- @include records
local OK, NOT_FOUND, EXPIRED, SUPERSEDED = 0, 1, 2, 3

-- `state`, `current` (the item's token as text) and `deadline` are those of its run; `state` is nil if it has none.
local function fence(id, token, state, current, deadline)
  if not state then
    return redis.call('HEXISTS', P .. 'item', id) == 1 and token ~= '' and SUPERSEDED or NOT_FOUND
  end
  local is_current = token == '' or token == current
  if state == 'L' or state == 'O' then
    if not is_current then
      return SUPERSEDED
    end
    return deadline > now and OK or EXPIRED
  end
  if token == '' then
    return NOT_FOUND
  end
  return is_current and EXPIRED or SUPERSEDED
end

-- A run that cannot be read is nobody's: the item is set aside when its lease ends.
local function fence_run(id, token, run)
  if not run then
    return fence(id, token)
  elseif run == UNREADABLE then
    return NOT_FOUND
  end
  return fence(id, token, run.state, int(run.token), run.deadline)
end

local function read_runs(ids)
  local runs = redis.call('HMGET', P .. 'run', unpack(ids))
  for i = 1, #ids do
    runs[i] = runs[i] and parse_run(runs[i])
  end
  return runs
end
