-- Leases up to a number of items from queues in strict order. First does what time has made due.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind ("t" or "d"), items wanted (1-1000), bytes wanted at most, lease in us ("" the
--          item's own, 0 at most once), attempts ("" the item's own), retention of started at-most-once items in us,
--          note hunger (1 or 0), caller ("" untracked: what is leased counts as received), number of its call, not after
--          (us; a call that comes later does nothing), ms that its answer is kept, skill set ("" any task), 1 to park
--          items of other tasks, number of shares, their sizes, number of receipts, their tokens, number of queues (0: all,
--          by priority), their names
-- Reply    {next due time in us or -1, again (1: call again at once, skipped entries used up the call), now in us,
--          ids, records, and for each stretch of items that have it in common: number of items, token (0: nothing to
--          acknowledge), attempt, attempts, lease in us, last error ("" none)}
--          If fewer than wanted came out and again is 0, the queues are empty and, if asked, hunger is noted.
-- Cost     O(items + queues named), plus stale entries skipped, at most 2,000 a call.
--- @include clock
--- @include records
--- @include weight
--- @include events
--- @include queues
--- @include endings
--- @include unreceived
--- @include advance

local kind, wanted, room = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5])
local lease_override, attempts_override = tonumber(ARGV[6]), tonumber(ARGV[7])
local retention, note_hunger = tonumber(ARGV[8]), ARGV[9] == '1'
local caller, sequence, not_after, keep_ms, skills, sift =
  ARGV[10], tonumber(ARGV[11]), tonumber(ARGV[12]), ARGV[13], ARGV[14], ARGV[15] == '1'
local at = 16
local function numbers()
  local list, size = {}, tonumber(ARGV[at])
  for i = 1, size do
    list[i] = ARGV[at + i]
  end
  at = at + size + 1
  return list
end
local shares, receipts = numbers(), numbers()
local queues = tonumber(ARGV[at])
local tracked = caller ~= ''
local QUEUES_AT = at

-- The caller's earlier call, if its answer is still kept.
local kept = tracked and redis.call('GETRANGE', P .. 'answer:' .. caller, 0, 15)
local has_copies = kept and string.sub(kept, 16) == '1'
kept = kept and tonumber(string.sub(kept, 1, 15))
if #receipts > 0 then
  redis.call('ZREM', P .. 'unreceived', unpack(receipts))
end
if not_after and now > not_after or kept and kept > sequence then
  return { -1, 2, now, {}, {}, {} }
end
local answer = kept == sequence and redis.call('GETRANGE', P .. 'answer:' .. caller, 16, -1)
if answer and answer ~= '' then
  -- Asked again: at-most-once items as they were kept, others as far as they still are leased under those tokens. These
  -- are found by the ends of their leases.
  local found, sets, tokens = unpack(cmsgpack.unpack(answer))
  local old, records = {}, {}
  for i, part in ipairs(has_copies and redis.call('LRANGE', P .. 'copies:' .. caller, 0, -1) or {}) do
    local list = i % 2 == 1 and old or records
    list[#list + 1] = part
  end
  for _, set in ipairs(sets) do
    local ids = redis.call('ZRANGEBYSCORE', P .. 'leased:' .. set[1], set[2], set[2])
    for first = 1, #ids, 4000 do
      local last = math.min(first + 3999, #ids)
      local runs = redis.call('HMGET', P .. 'run', unpack(ids, first, last))
      for i, text in ipairs(runs) do
        local id = ids[first + i - 1]
        local run = text and parse_run(text)
        if run and tokens[int(run.token)] then
          old[#old + 1], records[#records + 1] = id, redis.call('HGET', P .. 'item', id)
          for _, term in ipairs({ 1, run.token, run.used, run.attempts, run.lease, redis.call('HGET', P .. 'error', id) or '' }) do
            found[#found + 1] = term
          end
        end
      end
    end
  end
  return { -1, 1, now, old, records, found }
end

local ids, records, count = {}, {}, 0
local stretches, stretch, last_terms = {}, 0, nil
local started, starts, gone, gone_runs, leased = {}, 0, {}, {}, {}
local taken, copies, terms_gone, last_gone = {}, {}, {}, nil
local skipped, full = 0, false

advance(1000)
local any_run = redis.call('EXISTS', P .. 'run') == 1
local any_stale = redis.call('EXISTS', P .. 'stale:' .. kind) == 1
local token, newest
local share, share_end, share_until = 1, tonumber(shares[1] or wanted), 0
local marks = {}

local function next_token()
  newest = newest and newest + 1 or math.max(tonumber(redis.call('GET', P .. 'token') or '0') + 1, now)
  return newest
end

-- What is leased from here on goes to another stream.
local function close_share()
  if tracked and share_until > 0 then
    marks[#marks + 1] = int(share_until)
    marks[#marks + 1] = int(token)
  end
  token, share_until = nil, 0
end

local function open_share()
  close_share()
  share = share + 1
  share_end = share_end + tonumber(shares[share] or wanted)
end

-- What items of one spec and attempt have in common once they are taken. At-most-once items of which nothing is kept are
-- gone, the others are leased.
local function make_terms(spec, used, most, failure)
  local lease = lease_override or spec.lease
  local terms = { spec = spec, used = used, most = most, lease = lease, failure = failure, token = 0 }
  if lease > 0 or spec.keep > 0 or spec.dead then
    token = token or next_token()
    terms.token, terms.share = token, share
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
  room = room - weight(id, record, terms.failure)
  if terms ~= last_terms then
    last_terms = terms
    stretches[stretch + 1], stretches[stretch + 2], stretches[stretch + 3] = 0, terms.token, terms.used
    stretches[stretch + 4], stretches[stretch + 5], stretches[stretch + 6] = terms.most, terms.lease, terms.failure
    stretch = stretch + 6
  end
  stretches[stretch - 5] = stretches[stretch - 5] + 1
  local set = terms.set
  if set then
    if terms.lease > 0 and set.deadline > share_until then
      share_until = set.deadline
    end
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
    if tracked then
      local n = #copies
      copies[n + 1], copies[n + 2] = id, record
      if terms ~= last_gone then
        last_gone = terms
        local n = #terms_gone
        terms_gone[n + 1], terms_gone[n + 2], terms_gone[n + 3] = 0, 0, terms.used
        terms_gone[n + 4], terms_gone[n + 5], terms_gone[n + 6] = terms.most, terms.lease, terms.failure
      end
      terms_gone[#terms_gone - 5] = terms_gone[#terms_gone - 5] + 1
    end
  end
  if count >= share_end and count < wanted then
    open_share()
  end
end

-- Takes an item that was delivered before, or buries it if its attempts are used up.
local function take_again(id, record, run, failure)
  local spec = run.spec
  local most = attempts_override or spec.attempts
  if run.used >= most then
    bury(id, run, failure ~= '' and failure or 'attempts used up')
    skipped = skipped + 1
    return
  end
  local terms = make_terms(spec, run.used + 1, most, failure)
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

--- @include parking

-- Items of tasks that the consumer knows and somebody before it did not.
local function take_parked(queue, task)
  local set = parked_key(kind .. ':' .. queue, task)
  while count < wanted and skipped < 2000 and not full do
    local found = redis.call('ZRANGE', set, 0, math.min(wanted - count, 64) - 1)
    if #found == 0 then
      break
    end
    local records, runs = redis.call('HMGET', P .. 'item', unpack(found)), redis.call('HMGET', P .. 'run', unpack(found))
    local gone_ids = {}
    for i, id in ipairs(found) do
      local record, run = records[i], runs[i] and parse_run(runs[i])
      local failure = run and redis.call('HGET', P .. 'error', id) or ''
      if record and count > 0 and weight(id, record, failure) > room then
        full = true
        break
      end
      gone_ids[#gone_ids + 1] = id
      if not record then
        skipped = skipped + 1
      elseif run then
        take_again(id, record, run, failure)
      else
        local spec = record_spec(record)
        if not spec.first or spec.first_share ~= share then
          spec.first, spec.first_share = make_terms(spec, 1, attempts_override or spec.attempts, ''), share
        end
        take(id, record, spec.first)
      end
    end
    if #gone_ids > 0 then
      redis.call('ZREM', set, unpack(gone_ids))
    end
  end
  if redis.call('EXISTS', set) == 0 then
    unpark(queue, task)
  end
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
      local failure = run and redis.call('HGET', P .. 'error', id) or ''
      local spec = live(id, record, run, tail, has_stale)
      if not spec then
        stale = stale + 1
      elseif sift and not knows(record) then
        park(spec, id, record)
        skipped = skipped + 1
      elseif count > 0 and weight(id, record, failure) > room then
        local rest = {}
        for j = #popped, i, -1 do
          rest[#rest + 1] = popped[j]
        end
        redis.call('LPUSH', list, unpack(rest))
        full = true
        break
      elseif run then
        take_again(id, record, run, failure)
      else
        if not spec.first or spec.first_share ~= share then
          spec.first, spec.first_share = make_terms(spec, 1, attempts_override or spec.attempts, ''), share
        end
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

local parked_for_us = parked_tasks()
if parked_for_us then
  local named
  if queues > 0 then
    named = {}
    for i = 1, queues do
      named[ARGV[QUEUES_AT + i]] = true
    end
  end
  for _, task in ipairs(parked_for_us) do
    for _, queue in ipairs(redis.call('SMEMBERS', P .. 'parkedqueues:' .. kind .. ':' .. task)) do
      if (not named or named[queue]) and redis.call('SISMEMBER', P .. 'paused:' .. kind, queue) == 0 then
        take_parked(queue, task)
      end
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
    names[i] = ARGV[QUEUES_AT + i]
  end
  for i, score in ipairs(redis.call('ZMSCORE', P .. 'ready:' .. kind, unpack(names))) do
    if score and count < wanted and skipped < 2000 and not full then
      take_from(names[i])
    end
  end
end

-- Note what was taken.
close_share()
if newest then
  redis.call('SET', P .. 'token', int(newest))
end
if #marks > 0 then
  redis.call('ZADD', P .. 'unreceived', unpack(marks))
end
write_parked()
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
      redis.call('SADD', P .. 'hungry:' .. kind, ARGV[QUEUES_AT + i])
    end
  end
end
if tracked then
  local answer = string.format('%015d%d', sequence, #copies > 0 and 1 or 0)
  if count > 0 then
    local sets, tokens = {}, {}
    local noted = {}
    for spec, set in pairs(leased) do
      -- Items of several specs may stand in one set with one end.
      if not noted[spec.tail .. ' ' .. set.text] then
        noted[spec.tail .. ' ' .. set.text] = true
        sets[#sets + 1] = { spec.tail, set.text }
      end
    end
    for i = 2, #stretches, 6 do
      tokens[int(stretches[i])] = true
    end
    answer = answer .. cmsgpack.pack({ terms_gone, sets, tokens })
  end
  if has_copies then
    redis.call('UNLINK', P .. 'copies:' .. caller)
  end
  if #copies > 0 then
    -- A list, which costs less than one string made here.
    call_many('RPUSH', P .. 'copies:' .. caller, copies)
    redis.call('PEXPIRE', P .. 'copies:' .. caller, keep_ms)
  end
  redis.call('SET', P .. 'answer:' .. caller, answer, 'PX', keep_ms)
end
return { next_due(), again and 1 or 0, now, ids, records, stretches }
