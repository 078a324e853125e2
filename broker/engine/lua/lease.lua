-- Leases up to a number of items from queues in strict order. First does what time has made due.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, kind ("t" or "d"), items wanted (1-1000; 0: only asks for the answer that is kept),
--          bytes of the reply at most, bytes of one item at most, lease in us ("" the item's own, 0 at most once), attempts ("" the item's own), retention of started
--          at-most-once items in us, from how many items on leases stand as a share (0: never; see include/leased.lua),
--          note hunger (1 or 0), caller ("" untracked: what is leased counts as received), number
--          of its call, not after (us, "" any time; a call that comes later does nothing), ms that its answer is kept, skill
--          set ("" any task), 1 to park items of other tasks, 1 if who gets the items says when they begin (else what is
--          leased counts as begun), attempts ("" none) and dead-letter queue ("" none) of items whose producers left
--          them open, number of shares, their sizes, number of receipts, their
--          tokens, number of queues (0: all, by priority), their names
-- Reply    {next due time in us or -1, again (1: call again at once, skipped entries used up the call; 2: nothing was
--          done, for the call came too late or its caller is further), now in us, ids, records, and for each stretch of
--          items that have it in common: number of items, token (0: nothing to acknowledge), attempt, attempts, lease in
--          us, last error ("" none); then {number of items that were parked, their tasks}, the number -1 if it is not known
--          here which tasks belong to the skill set}
--          If fewer than wanted came out and again is 0, the queues are empty and, if asked, hunger is noted.
-- Cost     O(items + queues named), plus stale entries, parked and dead items passed, at most 2,000 a call, plus O(t) for t
--          tasks whose parked items it may have. Reads what it hands out, what it passes, and at most one item more.
--- @drains
--- @include clock
--- @include records
--- @include weight
--- @include events
--- @include queues
--- @include leased
--- @include aside
--- @include endings
--- @include advance
--- @include expired
--- @include expiring
--- @include shares
--- @include answers
--- @include parked
--- @include parking
--- @include bytes

local kind, wanted, room, most_bytes = ARGV[3], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local lease_override, attempts_override = tonumber(ARGV[7]), tonumber(ARGV[8])
local retention, share_from, notes_hunger = tonumber(ARGV[9]), tonumber(ARGV[10]), ARGV[11] == '1'
local caller, sequence, not_after, keep_ms = ARGV[12], tonumber(ARGV[13]), tonumber(ARGV[14]), ARGV[15]
local skills, sift, says_begun = ARGV[16], ARGV[17] == '1', ARGV[18] == '1'

-- Entries passed in one call that bring nothing.
local MOST_SKIPPED = 2000
-- Ids looked at at once.
local MOST_SLICE = 250

local default_attempts, default_dead = ARGV[19], ARGV[20]

local at = 21
local function list_argument()
  local list, size = {}, tonumber(ARGV[at])
  for i = 1, size do
    list[i] = ARGV[at + i]
  end
  at = at + size + 1
  return list
end
local sizes, receipts, queues = list_argument(), list_argument(), list_argument()
local tracked = caller ~= ''

if #receipts > 0 then
  call_many('ZREM', P .. 'unreceived', receipts)
end
local known_sequence, has_copies
if tracked then
  known_sequence, has_copies = last_call(caller)
end
if known_sequence == sequence then
  local kept = kept_answer(caller, has_copies)
  return { -1, 1, now, kept[1], kept[2], kept[3], { 0 } }
elseif (not_after and now > not_after) or (known_sequence and known_sequence > sequence) then
  return { -1, 2, now, {}, {}, {}, { 0 } }
end

advance(1000)
local any_run = redis.call('EXISTS', P .. 'run') == 1
local any_stale = redis.call('EXISTS', P .. 'stale:' .. kind) == 1
local shares = new_shares(sizes, tracked)
local sieve = sift and new_sieve(kind, skills)

-- What is read and decided first, and written at the end.
local ids, records, count, stretches, stretch, last_terms = {}, {}, 0, {}, 0, nil
local started, starts, leased, gone, gone_runs, copied, last_gone = {}, 0, {}, {}, {}, { parts = {}, stretches = {} }, nil
local taken, buried, unreadable, trims, unparked = {}, {}, {}, {}, {}
-- Items that have waited too long, and by their queues those with an entry in `expiring` that do not wait any more.
local expired, left_expiring = {}, {}
local skipped, full = 0, false

-- The ids of one queue that are leased under one token until one deadline, whatever their attempts.
local function leased_until(spec, token, deadline)
  local place = spec.tail .. ' ' .. share_name(token, deadline)
  local set = leased[place]
  if not set then
    set = { spec = spec, token = token, deadline = deadline, size = 0 }
    leased[place] = set
  end
  return set
end

-- The spec under which items of a spec are leased here: what their producers left open is as this consumer has it.
local function as_leased(spec)
  if not spec.as_leased then
    local attempts = string.find(spec.open, 'a', 1, true) and default_attempts or ''
    local dead = string.find(spec.open, 'd', 1, true) and default_dead or ''
    if (attempts == '' and dead == '') or (lease_override or spec.lease) == 0 then
      spec.as_leased = spec
    else
      local head, own, middle, own_dead, rest = string.match(spec.text,
        '^(%S+ %S+) (%S+) (%S+ %S+ %S+ %S+ %S+) (%S+) (.*)$')
      attempts, dead = attempts ~= '' and attempts or own, dead ~= '' and dead or own_dead
      spec.as_leased = spec_of(table.concat({ head, attempts, middle, dead, rest }, ' '))
    end
  end
  return spec.as_leased
end

-- What items of one spec and attempt have in common once they are taken. At-most-once items of which nothing is kept are
-- gone, the others are leased.
local function make_terms(spec, used, most, failure)
  local lease = lease_override or spec.lease
  local terms = { spec = spec, used = used, most = most, lease = lease, failure = failure, token = 0 }
  terms.bytes = ITEM_OVERHEAD + #failure
  if lease > 0 or spec.keep > 0 or spec.dead then
    terms.token = shares.token()
    local deadline = now + (lease > 0 and lease or retention)
    terms.run = format_run({
      state = lease > 0 and 'L' or 'O', token = terms.token, used = used, attempts = most, lease = lease,
      deadline = deadline, cancel = false, unbegun = says_begun, spec = spec,
    })
    if lease > 0 then
      shares.ends(deadline)
    end
    terms.set = leased_until(spec, int(terms.token), deadline)
  end
  return terms
end

local function open_stretch(list, n, terms)
  list[n + 1], list[n + 2], list[n + 3] = 0, terms.token, terms.used
  list[n + 4], list[n + 5], list[n + 6] = terms.most, terms.lease, terms.failure
end

-- Notes what is handed out for good, should the answer get lost.
local function copy(id, record, terms)
  local parts, terms_of = copied.parts, copied.stretches
  local n = #parts
  parts[n + 1], parts[n + 2] = id, record
  if terms ~= last_gone then
    last_gone = terms
    open_stretch(terms_of, #terms_of, terms)
  end
  terms_of[#terms_of - 5] = terms_of[#terms_of - 5] + 1
end

local function take(id, record, terms)
  count = count + 1
  ids[count], records[count], taken[id] = id, record, true
  room = room - #record - #id - terms.bytes
  if terms ~= last_terms then
    last_terms = terms
    open_stretch(stretches, stretch, terms)
    stretch = stretch + 6
  end
  stretches[stretch - 5] = stretches[stretch - 5] + 1
  local set = terms.set
  if set then
    started[starts + 1], started[starts + 2] = id, terms.run
    starts = starts + 2
    local n = set.size + 1
    set.size, set[n] = n, id
  else
    gone[#gone + 1] = id
    terms.spec.gone = (terms.spec.gone or 0) + 1
    if tracked then
      copy(id, record, terms)
    end
  end
  if count == shares.last_item then
    shares.go_on()
  end
end

-- Whether so much does not fit into this reply any more; a first item always does.
local function is_full(bytes)
  full = count > 0 and bytes > room
  return full
end

-- An item that was delivered before, or given back.
local function take_again(id, record, run)
  local spec = as_leased(run.spec)
  local most = attempts_override or spec.attempts
  run.spec = spec
  local failure = redis.call('HGET', P .. 'error', id)
  if run.used >= most then
    buried[#buried + 1] = { id, run, failure or 'attempts used up' }
    taken[id] = true
    skipped = skipped + 1
    return
  end
  failure = failure or ''
  if is_full(#record + #id + #failure + ITEM_OVERHEAD) then
    return
  end
  local terms = make_terms(spec, run.used + 1, most, failure)
  take(id, record, terms)
  if not terms.set then
    gone_runs[#gone_runs + 1] = id
  end
end

local function put_aside(id, queue, why)
  unreadable[#unreadable + 1] = { id, queue, why }
  taken[id] = true
  skipped = skipped + 1
end

local function leave_expiring(id, tail)
  left_expiring[tail] = left_expiring[tail] or {}
  table.insert(left_expiring[tail], id)
end

-- Decides about one entry of a queue: takes it, or passes it (stale, dead, parked or set aside), unless `full` is set
-- then. Answers whether it was stale.
local function consider(queue, tail, id, record, text, has_stale, sieve_here)
  local run = text and parse_run(text)
  if not record or taken[id] or (run and run ~= UNREADABLE and run.state ~= 'W') or why_aside(id) then
    return true
  end
  local spec = record_spec(record)
  if not spec or run == UNREADABLE then
    put_aside(id, queue, spec and RUN_UNREADABLE or RECORD_UNREADABLE)
    return false
  elseif spec.tail ~= tail then
    return true
  elseif has_stale and (redis.call('ZSCORE', P .. 'delayed:' .. tail, id) or is_parked(id, spec, record)) then
    return true
  end
  if spec.expires and last_delivery(record, spec) <= now then
    expired[#expired + 1] = { id, run and run.spec or spec, run }
    taken[id] = true
    skipped = skipped + 1
    leave_expiring(id, tail)
    return false
  end
  local bytes = #record + #id + ITEM_OVERHEAD
  local unknown_task = sieve_here and sieve_here.holds(record)
  if bytes > most_bytes then
    put_aside(id, queue, TOO_LARGE)
  elseif unknown_task and sieve_here.park(spec, unknown_task, id) then
    taken[id] = true
    skipped = skipped + 1
    return false
  elseif run then
    take_again(id, record, run)
  elseif not is_full(bytes) then
    if not spec.first or spec.terms_share ~= shares.number then
      local leased_as = as_leased(spec)
      spec.first, spec.terms_share = make_terms(leased_as, 1, attempts_override or leased_as.attempts, ''), shares.number
      -- Those that may expire are looked at one by one.
      spec.first_share = not spec.expires and shares.number or nil
    end
    take(id, record, spec.first)
  end
  if spec.expires and taken[id] then
    leave_expiring(id, tail)
  end
  return false
end

local function next_slice()
  return math.min(wanted - count, MOST_SLICE)
end

local function goes_on()
  return count < wanted and skipped < MOST_SKIPPED and not full
end

-- Records and runs of ids from a place on: of as many as fit, and perhaps one more.
local function look_up(slice, first)
  local last = last_to_read(slice, first, room)
  local found = redis.call('HMGET', P .. 'item', unpack(slice, first, last))
  return found, any_run and redis.call('HMGET', P .. 'run', unpack(slice, first, last)) or {}
end

local function take_from_list(queue)
  local tail = kind .. ':' .. queue
  local list, position, stale = P .. 'queue:' .. tail, 0, 0
  local has_stale = any_stale and redis.call('HEXISTS', P .. 'stale:' .. kind, queue) == 1
  local is_plain = not has_stale and not sieve and not is_any_aside()
  while goes_on() do
    local slice = redis.call('LRANGE', list, position, position + next_slice() - 1)
    if #slice == 0 then
      break
    end
    local found, runs = look_up(slice, 1)
    for i, record in ipairs(found) do
      -- Nearly all are new items of a few specs.
      local id = slice[i]
      local spec = is_plain and record and not runs[i] and not taken[id] and record_spec(record)
      if spec and spec.tail == tail and spec.first_share == shares.number and #record + #id + ITEM_OVERHEAD <= room then
        take(id, record, spec.first)
      elseif consider(queue, tail, id, record, runs[i], has_stale, sieve) then
        stale, skipped = stale + 1, skipped + 1
      end
      if full then
        break
      end
      position = position + 1
    end
  end
  trims[#trims + 1] = { list = list, queue = queue, count = position, stale = has_stale and stale or 0 }
end

local function take_from_parked(queue, tasks)
  local tail, passed = kind .. ':' .. queue, {}
  local next_parked = parked_reader(tail, tasks, wanted - count)
  while goes_on() do
    local slice, of = next_parked(next_slice())
    if #slice == 0 then
      break
    end
    local first = 1
    while first <= #slice and goes_on() do
      local found, runs = look_up(slice, first)
      for i, record in ipairs(found) do
        if not goes_on() then
          break
        end
        local id, task = slice[first + i - 1], of[first + i - 1]
        if consider(queue, tail, id, record, runs[i], false, nil) then
          skipped = skipped + 1
        end
        if not full then
          passed[task] = passed[task] or {}
          table.insert(passed[task], id)
        end
      end
      first = first + #found
    end
  end
  unparked[#unparked + 1] = { queue = queue, tasks = tasks, passed = passed }
end

local parked = parked_for(kind, skills)

local function is_paused(queue)
  return redis.call('SISMEMBER', P .. 'paused:' .. kind, queue) == 1
end

-- All queues, by priority, then by name.
local function take_from_all()
  local position, aside_queues = 0, {}
  for queue in pairs(parked or {}) do
    if not is_paused(queue) then
      local priority = tonumber(redis.call('HGET', P .. 'priority:' .. kind, queue)) or NO_PRIORITY
      aside_queues[#aside_queues + 1] = { queue = queue, priority = priority }
    end
  end
  table.sort(aside_queues, function(a, b)
    return a.priority < b.priority or (a.priority == b.priority and a.queue < b.queue)
  end)
  local next_parked = 1
  while goes_on() do
    local first, before = redis.call('ZRANGE', P .. 'ready:' .. kind, position, position, 'WITHSCORES'),
      aside_queues[next_parked]
    if before and (not first[1] or before.priority < tonumber(first[2])
      or (before.priority == tonumber(first[2]) and before.queue <= first[1])) then
      take_from_parked(before.queue, parked[before.queue])
      next_parked = next_parked + 1
    elseif first[1] then
      take_from_list(first[1])
      position, skipped = position + 1, skipped + 1
    else
      break
    end
  end
end

local function take_from_named()
  for i, score in ipairs(redis.call('ZMSCORE', P .. 'ready:' .. kind, unpack(queues))) do
    local queue = queues[i]
    if parked and parked[queue] and goes_on() and not is_paused(queue) then
      take_from_parked(queue, parked[queue])
    end
    if score and goes_on() then
      take_from_list(queue)
    end
  end
end

if #queues == 0 then
  take_from_all()
else
  take_from_named()
end

-- Then write.
shares.write()
for _, trim in ipairs(trims) do
  if trim.count > 0 then
    redis.call('LTRIM', trim.list, trim.count, -1)
  end
  if redis.call('EXISTS', trim.list) == 0 then
    redis.call('ZREM', P .. 'ready:' .. kind, trim.queue)
    if any_stale then
      redis.call('HDEL', P .. 'stale:' .. kind, trim.queue)
    end
  elseif trim.stale > 0 then
    redis.call('HINCRBY', P .. 'stale:' .. kind, trim.queue, -trim.stale)
  end
end
for _, one in ipairs(unparked) do
  for task, passed in pairs(one.passed) do
    call_many('ZREM', parked_key(kind .. ':' .. one.queue, task), passed)
  end
  for _, task in ipairs(one.tasks) do
    unpark_if_empty(kind, one.queue, task)
  end
end
local parked_now = sieve and sieve.write() or { is_untaught(kind, skills, sift) and -1 or 0 }
for _, one in ipairs(unreadable) do
  set_aside(one[1], kind, one[2], one[3])
  changed(one[1])
end
for tail, ids_left in pairs(left_expiring) do
  call_many('ZREM', P .. 'expiring:' .. tail, ids_left)
end
for _, one in ipairs(expired) do
  end_expired(one[1], one[2], one[3])
end
for _, one in ipairs(buried) do
  bury(one[1], one[2], one[3])
end
if #gone > 0 then
  drop_items(gone)
  for _, spec in pairs(specs) do
    if spec and spec.gone then
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
for _, set in pairs(leased) do
  enter_leased(set.spec, set.token, set.deadline, set, share_from)
end
if are_watched() then
  for _, id in ipairs(ids) do
    changed(id)
  end
end

local again = (skipped >= MOST_SKIPPED or full) and count < wanted
if notes_hunger and count < wanted and not again then
  note_hunger(kind, #queues == 0 and { '*' } or queues)
end
if tracked then
  copied.leased = leased
  keep_answer(caller, sequence, keep_ms, has_copies, copied)
end
return { next_due(), again and 1 or 0, now, ids, records, stretches, parked_now }
