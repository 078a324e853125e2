-- Time's own work: due items become ready, leases that ran out end, and so does what has waited too long. At most `budget` items; what is left
-- shows in the due index and is done by the next call.
--- @include aside
--- @include clock
--- @include endings
--- @include events
--- @include expired
--- @include expiring
--- @include leased
--- @include locate
--- @include queues
--- @include records
--- @include unreceived

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

-- The first entries of a queue's leases that are over, and whom they name: ids, and for each the share it is named by.
local function first_over(tail, budget)
  local singles, shares, ids, share_of = {}, {}, {}, {}
  for _, entry in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leased:' .. tail, '-inf', int(now), 'LIMIT', 0, budget)) do
    if #ids >= budget then
      break
    end
    local found, share = ids_of_entry(tail, entry)
    local list = share and shares or singles
    list[#list + 1] = share or entry
    for _, id in ipairs(found) do
      ids[#ids + 1] = id
      share_of[#ids] = share
    end
  end
  return singles, shares, ids, share_of
end

local function expire(spec, budget)
  local singles, shares, named, share_of = first_over(spec.tail, budget)
  if #singles + #shares == 0 then
    return 0
  end
  local ids, runs, texts = {}, {}, {}
  for i, text in ipairs(hash_values('run', named)) do
    local run = text and parse_run(text) or UNREADABLE
    -- Of a share some have ended, or are leased anew.
    if not share_of[i] or is_in_share(run, share_of[i]) or (text and run == UNREADABLE) then
      local n = #ids + 1
      ids[n], runs[n] = named[i], run
      if run.state == 'L' then
        texts[#texts + 1], run.text = text, text
      end
    end
  end
  local marked = unreceived_among(texts)
  call_many('ZREM', P .. 'leased:' .. spec.tail, singles)
  for _, share in ipairs(shares) do
    drop_share(spec.tail, share)
  end
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
      note_waiting(run.spec, id)
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
  return math.max(#ids, #singles + #shares)
end

-- Ends items that have waited too long. Of those that somebody has by now nothing is known here: they are noted again when
-- they are given back.
local function expire_waiting(spec, budget)
  local set = P .. 'expiring:' .. spec.tail
  local ids = redis.call('ZRANGEBYSCORE', set, '-inf', int(now), 'LIMIT', 0, budget)
  call_many('ZREM', set, ids)
  local records, runs = hash_values('item', ids), hash_values('run', ids)
  for i, id in ipairs(ids) do
    local item_spec, run = records[i] and record_spec(records[i]), runs[i] and parse_run(runs[i]) or nil
    local time = item_spec and item_spec.tail == spec.tail and last_delivery(records[i], item_spec)
    if time and not (run and run.state ~= 'W') and not why_aside(id) then
      if time > now then
        note_expiring(item_spec, id, time)
      else
        detach(id, item_spec, run)
        end_expired(id, run and run.spec or item_spec, run)
      end
    end
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

local WORK = { delayed = promote, leased = expire, expiring = expire_waiting }

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
