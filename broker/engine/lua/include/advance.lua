-- Time's own work: due items become ready, leases that ran out end. At most `budget` items; what is left
-- shows in the due index and is done by the next call.
-- Needs `aside`, `endings`, `unreceived`.

local function promote(spec, budget)
  local set = P .. 'delayed:' .. spec.tail
  local ids = redis.call('ZRANGEBYSCORE', set, '-inf', int(now), 'LIMIT', 0, budget)
  if #ids > 0 then
    call_many('ZREM', set, ids)
    push_ready(spec, ids)
  end
  return #ids
end

-- Sets an item aside whose lease cannot be ended, if there is such an item.
local function expire_unreadable(id, spec)
  if redis.call('HEXISTS', P .. 'item', id) == 1 then
    set_aside(id, spec.kind, spec.queue, RUN_UNREADABLE)
    changed(id)
  end
end

local function expire(spec, budget)
  local set = P .. 'leased:' .. spec.tail
  local ids = redis.call('ZRANGEBYSCORE', set, '-inf', int(now), 'LIMIT', 0, budget)
  if #ids == 0 then
    return 0
  end
  local runs, texts = redis.call('HMGET', P .. 'run', unpack(ids)), {}
  for i, text in ipairs(runs) do
    local run = text and parse_run(text) or UNREADABLE
    runs[i] = run
    if run.state == 'L' then
      texts[#texts + 1] = text
      run.text = text
    end
  end
  local marked = unreceived_among(texts)
  call_many('ZREM', set, ids)
  local again, unseen, updates = {}, {}, {}
  for i, id in ipairs(ids) do
    local run = runs[i]
    local waits
    if run == UNREADABLE then
      expire_unreadable(id, spec)
    elseif run.state ~= 'L' and run.state ~= 'O' then
      -- It stands somewhere else by now.
      waits = nil
    elseif run.cancel then
      end_cancelled(id, run.spec, run.used)
    elseif run.state == 'O' then
      bury(id, run, 'started, but never finished')
    elseif marked and marked[run.text] and not received_alone(id, int(run.token)) then
      waits = end_unreceived(id, run) and unseen
    elseif run.used >= run.attempts then
      bury(id, run, redis.call('HGET', P .. 'error', id) or 'the lease ran out')
    else
      run.state, waits = 'W', again
    end
    if waits then
      waits[#waits + 1] = id
      updates[#updates + 1] = id
      updates[#updates + 1] = format_run(run)
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

local WORK = { delayed = promote, leased = expire }

local function advance(budget)
  local moved = 0
  while moved < budget do
    local head = redis.call('ZRANGEBYSCORE', P .. 'due', '-inf', int(now), 'LIMIT', 0, 1)
    if not head[1] then
      break
    end
    local set, kind, queue = string.match(head[1], '^(%a+):(%a):(.*)$')
    if WORK[set] then
      moved = moved + WORK[set]({ kind = kind, queue = queue, tail = kind .. ':' .. queue }, budget - moved)
      reindex(head[1])
    else
      -- A later version's: its own brokers see to it; here it must only not stand in the way.
      redis.call('ZADD', P .. 'due', int(now + 1000000), head[1])
    end
    -- A set that had nothing due any more still costs a step.
    moved = moved + 1
  end
  return moved
end
