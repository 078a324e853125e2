-- Leases up to a number of items from queues in strict order. First does what time has made due.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind ("t" or "d"), items wanted (1-1000), bytes wanted at most, lease in us ("" the
--          item's own, 0 at most once), attempts ("" the item's own), retention of started at-most-once items in us,
--          note hunger (1 or 0), number of queues (0: all, by priority), their names
-- Reply    {next due time in us or -1, again (1: call again at once, skipped entries used up the call), now in us,
--          ids, records, tokens (0: nothing to acknowledge), attempt, attempts, lease in us, last errors ("" none)}
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

local ids, records, specs, runs_before = {}, {}, {}, {}
local attempt, attempts, leases = {}, {}, {}
local taken = {}
local skipped, full = 0, false

advance(1000)
local any_run = redis.call('EXISTS', P .. 'run') == 1
local any_stale = redis.call('EXISTS', P .. 'stale:' .. kind) == 1

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
  while #ids < wanted and skipped < 2000 and not full do
    -- In slices, so that large items beyond `room` are not read in vain.
    local popped = redis.call('LPOP', list, math.min(wanted - #ids, 64))
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
      elseif #ids > 0 and #record > room then
        local rest = {}
        for j = #popped, i, -1 do
          rest[#rest + 1] = popped[j]
        end
        redis.call('LPUSH', list, unpack(rest))
        full = true
        break
      else
        local most = attempts_override or spec.attempts
        if run and run.used >= most then
          bury(id, run, redis.call('HGET', P .. 'error', id) or 'attempts used up')
          skipped = skipped + 1
        else
          room = room - #record
          taken[id] = true
          local n = #ids + 1
          ids[n], records[n], specs[n], runs_before[n] = id, record, spec, run or false
          attempt[n], attempts[n], leases[n] = run and run.used + 1 or 1, most, lease_override or spec.lease
        end
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
  while #ids < wanted and skipped < 2000 and not full do
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
    if score and #ids < wanted and skipped < 2000 and not full then
      take_from(names[i])
    end
  end
end

-- Items of one spec that are delivered for the first time have all but the token of their runs in common.
local function lease_terms(spec, used, most, lease)
  local terms = used == 1 and spec.terms
  if not terms then
    local once = lease == 0
    local deadline = now + (once and retention or lease)
    terms = {
      gone = once and spec.keep == 0 and not spec.dead, state = once and 'O ' or 'L ', deadline = deadline,
      deadline_text = int(deadline),
      tail = ' ' .. format_tail({
        used = used, attempts = most, lease = lease, deadline = deadline, cancel = false, spec = spec,
      }),
    }
    if used == 1 then
      spec.terms = terms
    end
  end
  return terms
end

-- Note what was taken: at-most-once items of which nothing is kept are gone, the others are leased.
local tokens, errors = {}, {}
local token = #ids > 0 and reserve_tokens(#ids)
local gone, gone_runs, started, leased, done = {}, {}, {}, {}, {}
for i, id in ipairs(ids) do
  local spec, again = specs[i], runs_before[i]
  local terms = lease_terms(spec, attempt[i], attempts[i], leases[i])
  errors[i] = again and redis.call('HGET', P .. 'error', id) or ''
  if terms.gone then
    tokens[i] = 0
    gone[#gone + 1] = id
    done[spec] = (done[spec] or 0) + 1
    if again then
      gone_runs[#gone_runs + 1] = id
    end
  else
    tokens[i] = token + i - 1
    local n = #started
    started[n + 1] = id
    started[n + 2] = terms.state .. int(tokens[i]) .. terms.tail
    local set = leased[spec]
    if not set then
      -- All of one call have the same, whatever attempt it is.
      set = { deadline = terms.deadline }
      leased[spec] = set
    end
    n = #set
    set[n + 1] = terms.deadline_text
    set[n + 2] = id
  end
  changed(id)
end
if #gone > 0 then
  call_many('HDEL', P .. 'item', gone)
  for spec, count in pairs(done) do
    redis.call('HINCRBY', P .. 'done:' .. kind, spec.queue, count)
  end
end
if #gone_runs > 0 then
  call_many('HDEL', P .. 'run', gone_runs)
  call_many('HDEL', P .. 'error', gone_runs)
end
if #started > 0 then
  call_many('HSET', P .. 'run', started)
end
for spec, set in pairs(leased) do
  call_many('ZADD', P .. 'leased:' .. spec.tail, set)
  due_by('leased', spec, set.deadline)
end

local again = (skipped >= 2000 or full) and #ids < wanted
if note_hunger and #ids < wanted and not again then
  if queues == 0 then
    redis.call('SADD', P .. 'hungry:' .. kind, '*')
  else
    for i = 1, queues do
      redis.call('SADD', P .. 'hungry:' .. kind, ARGV[10 + i])
    end
  end
end
return { next_due(), again and 1 or 0, now, ids, records, tokens, attempt, attempts, leases, errors }
