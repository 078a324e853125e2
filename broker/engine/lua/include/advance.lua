-- Time's own work: due items become ready, leases that ran out end. At most `budget` items; what is left
-- shows in the due index and is done by the next call.

local function promote(spec, budget)
  local set = P .. 'delayed:' .. spec.tail
  local ids = redis.call('ZRANGEBYSCORE', set, '-inf', int(now), 'LIMIT', 0, budget)
  if #ids > 0 then
    call_many('ZREM', set, ids)
    push_ready(spec, ids)
  end
  return #ids
end

local function expire(spec, budget)
  local set = P .. 'leased:' .. spec.tail
  local ids = redis.call('ZRANGEBYSCORE', set, '-inf', int(now), 'LIMIT', 0, budget)
  if #ids == 0 then
    return 0
  end
  call_many('ZREM', set, ids)
  local again, unseen, updates = {}, {}, {}
  local texts = redis.call('HMGET', P .. 'run', unpack(ids))
  local marked = unreceived_among(texts)
  for i, text in ipairs(texts) do
    local run, id = parse_run(text), ids[i]
    if run.cancel then
      end_cancelled(id, run.spec, run.used)
    elseif run.state == 'O' then
      bury(id, run, 'started, but never finished')
    elseif marked and marked[text] then
      if end_unreceived(id, run, updates) then
        unseen[#unseen + 1] = id
      end
    elseif run.used >= run.attempts then
      bury(id, run, redis.call('HGET', P .. 'error', id) or 'the lease ran out')
    else
      run.state = 'W'
      updates[#updates + 1] = id
      updates[#updates + 1] = format_run(run)
      again[#again + 1] = id
    end
  end
  if #updates > 0 then
    call_many('HSET', P .. 'run', updates)
  end
  if #again > 0 then
    push_ready(spec, again)
  end
  if #unseen > 0 then
    push_ready(spec, unseen, true)
  end
  return #ids
end

-- Corrects the due index for one set, whose first entry may have changed.
local function reindex(member)
  local head = redis.call('ZRANGE', P .. member, 0, 0, 'WITHSCORES')
  if head[2] then
    redis.call('ZADD', P .. 'due', head[2], member)
  else
    redis.call('ZREM', P .. 'due', member)
  end
end

local function advance(budget)
  local moved = 0
  while moved < budget do
    local head = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', int(now), 'LIMIT', 0, 1)
    if not head[1] then
      break
    end
    local set, kind, queue = string.match(head[1], '^(%a+):(%a):(.*)$')
    local spec = { kind = kind, queue = queue, tail = kind .. ':' .. queue }
    moved = moved + (set == 'delayed' and promote or expire)(spec, budget - moved)
    reindex(head[1])
    -- A set that had nothing due any more still costs a step.
    moved = moved + 1
  end
  return moved
end
