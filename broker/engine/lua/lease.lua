-- Leases up to a number of items from queues in strict order. First does what time has made due.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind ("t" or "d"), items wanted (1-1000), bytes wanted at most, lease in us ("" the
--          item's own, 0 at most once), attempts ("" the item's own), retention of started at-most-once items in us,
--          note hunger (1 or 0), number of queues (0: all, by priority), their names
-- Reply    {next due time in us or -1, again (1: call again at once, skipped entries used up the call), now in us,
--          ids, records, and for each stretch of items that have it in common: number of items, token (0: nothing to
--          acknowledge), attempt, attempts, lease in us, last error ("" none)}
--          If fewer than wanted came out and again is 0, the queues are empty and, if asked, hunger is noted.
-- Cost     O(items + queues named), plus stale entries skipped, at most 2,000 a call.
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include endings
--- @include advance
--- @include tokens

local kind, wanted, room = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lease_override, attempts_override = tonumber(ARGV[6]), tonumber(ARGV[7])
local retention, note_hunger, queues = tonumber(ARGV[8]), ARGV[9] == '1', tonumber(ARGV[10])

local ids, records, count = {}, {}, 0
local stretches, stretch, last_terms = {}, 0, nil
local started, starts, gone, gone_runs, leased = {}, 0, {}, {}, {}
local taken = {}
local skipped, full = 0, false

advance(1000)
local any_run = redis.call('EXISTS', P .. 'run') == 1
local any_stale = redis.call('EXISTS', P .. 'stale:' .. kind) == 1
local token

-- What items of one spec and attempt have in common once they are taken. At-most-once items of which nothing is kept are
-- gone, the others are leased.
local function make_terms(spec, used, most, failure)
  local lease = lease_override or spec.lease
  local terms = { spec = spec, used = used, most = most, lease = lease, failure = failure, token = 0 }
  if lease > 0 or spec.keep > 0 or spec.dead then
    token = token or new_token()
    terms.token = token
    local deadline = now + (lease > 0 and lease or retention)
    terms.run = format_run({
      state = lease > 0 and 'L' or 'O', token = token, used = used, attempts = most, lease = lease, deadline = deadline,
      cancel = false, spec = spec,
    })
    terms.set = leased[spec]
    if not terms.set then
      -- All of one call have the same, whatever attempt it is.
      terms.set = { deadline = deadline, text = int(deadline), size = 0 }
      leased[spec] = terms.set
    end
  end
  return terms
end

local function take(id, record, terms)
  count = count + 1
  ids[count], records[count], taken[id] = id, record, true
  room = room - #record - #terms.failure
  if terms ~= last_terms then
    last_terms = terms
    stretches[stretch + 1], stretches[stretch + 2], stretches[stretch + 3] = 0, terms.token, terms.used
    stretches[stretch + 4], stretches[stretch + 5], stretches[stretch + 6] = terms.most, terms.lease, terms.failure
    stretch = stretch + 6
  end
  stretches[stretch - 5] = stretches[stretch - 5] + 1
  local set = terms.set
  if set then
    started[starts + 1] = id
    started[starts + 2] = terms.run
    starts = starts + 2
    local n = set.size
    set[n + 1] = set.text
    set[n + 2] = id
    set.size = n + 2
  else
    gone[#gone + 1] = id
    terms.spec.gone = (terms.spec.gone or 0) + 1
  end
end

-- Takes an item that was delivered before, or buries it if its attempts are used up.
local function take_again(id, record, run)
  local spec = run.spec
  local most = attempts_override or spec.attempts
  local failure = redis.call('HGET', P .. 'error', id)
  if run.used >= most then
    bury(id, run, failure or 'attempts used up')
    skipped = skipped + 1
    return
  end
  local terms = make_terms(spec, run.used + 1, most, failure or '')
  take(id, record, terms)
  if not terms.set then
    gone_runs[#gone_runs + 1] = id
  end
end

-- An entry is live if its item is there, in this queue, neither leased nor dead nor delayed nor taken just now.
local function live(id, record, run, tail, has_stale)
  if not record or taken[id] or (run and run.state ~= 'W') then
    return nil
  end
  local spec = record_spec(record)
  if spec.tail ~= tail or (has_stale and redis.call('ZSCORE', P .. 'delayed:' .. tail, id)) then
    return nil
  end
  return spec
end

local function take_from(queue)
  local tail = kind .. ':' .. queue
  local list = P .. 'queue:' .. tail
  local has_stale = any_stale and redis.call('HEXISTS', P .. 'stale:' .. kind, queue) == 1
  while count < wanted and skipped < 2000 and not full do
    -- In slices, so that large items beyond `room` are not read in vain.
    local popped = redis.call('LPOP', list, math.min(wanted - count, 64))
    if not popped then
      break
    end
    local found = redis.call('HMGET', P .. 'item', unpack(popped))
    local runs = any_run and redis.call('HMGET', P .. 'run', unpack(popped))
    local stale = 0
    for i, id in ipairs(popped) do
      local record = found[i]
      local run = runs and runs[i] and parse_run(runs[i])
      local spec = live(id, record, run, tail, has_stale)
      if not spec then
        stale = stale + 1
      elseif count > 0 and #record > room then
        local rest = {}
        for j = #popped, i, -1 do
          rest[#rest + 1] = popped[j]
        end
        redis.call('LPUSH', list, unpack(rest))
        full = true
        break
      elseif run then
        take_again(id, record, run)
      else
        spec.first = spec.first or make_terms(spec, 1, attempts_override or spec.attempts, '')
        take(id, record, spec.first)
      end
    end
    if stale > 0 then
      skipped = skipped + stale
      redis.call('HINCRBY', P .. 'stale:' .. kind, queue, -stale)
    end
  end
  if redis.call('EXISTS', list) == 0 then
    redis.call('ZREM', P .. 'ready:' .. kind, queue)
    if has_stale then
      redis.call('HDEL', P .. 'stale:' .. kind, queue)
    end
  end
end

if queues == 0 then
  while count < wanted and skipped < 2000 and not full do
    local first = redis.call('ZRANGE', P .. 'ready:' .. kind, 0, 0)[1]
    if not first then
      break
    end
    take_from(first)
    skipped = skipped + 1
  end
else
  local names = {}
  for i = 1, queues do
    names[i] = ARGV[10 + i]
  end
  for i, score in ipairs(redis.call('ZMSCORE', P .. 'ready:' .. kind, unpack(names))) do
    if score and count < wanted and skipped < 2000 and not full then
      take_from(names[i])
    end
  end
end

-- Note what was taken.
if #gone > 0 then
  call_many('HDEL', P .. 'item', gone)
  for _, spec in pairs(specs) do
    if spec.gone then
      redis.call('HINCRBY', P .. 'done:' .. kind, spec.queue, spec.gone)
    end
  end
end
if #gone_runs > 0 then
  call_many('HDEL', P .. 'run', gone_runs)
  call_many('HDEL', P .. 'error', gone_runs)
end
if starts > 0 then
  call_many('HSET', P .. 'run', started)
end
for spec, set in pairs(leased) do
  call_many('ZADD', P .. 'leased:' .. spec.tail, set)
  due_by('leased', spec, set.deadline)
end
if are_watched() then
  for _, id in ipairs(ids) do
    changed(id)
  end
end

local again = (skipped >= 2000 or full) and count < wanted
if note_hunger and count < wanted and not again then
  if queues == 0 then
    redis.call('SADD', P .. 'hungry:' .. kind, '*')
  else
    for i = 1, queues do
      redis.call('SADD', P .. 'hungry:' .. kind, ARGV[10 + i])
    end
  end
end
return { next_due(), again and 1 or 0, now, ids, records, stretches }
