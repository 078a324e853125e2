-- Gives leased items back.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of entries (1-1000), then for each
--          id, token, reason ("f" failed, "r" released, "u" released before any consumer saw it, "b" not begun by the
--          process that held it and died, "n" sent, but not received: only if Redis has no receipt either, "k" crashed
--          with its process, "c" cancelled, "x" rejected), delay in us ("" by rule), error; then tokens of shares that
--          were received
-- Reply    {next due time in us or -1, outcome codes (see fence.lua)}
-- Cost     O(log n) an entry.
--- @drains
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include leased
--- @include endings
--- @include expiring
--- @include fence
--- @include receipts
--- @include unreceived

-- Wait after a failed attempt: the item's retry policy, or else what is left of the lease.
-- retry * factor^(attempt - 1), at most max, moved by up to the share jitter either way.
local seeded = false
local function retry_delay(run)
  local spec = run.spec
  if not spec.retry then
    return run.deadline - now
  end
  local delay = math.min(spec.retry * spec.factor ^ (run.used - 1), spec.max)
  if spec.jitter > 0 then
    -- Redis starts every script with the same random sequence.
    if not seeded then
      math.randomseed(now % 2147483647)
      seeded = true
    end
    delay = math.min(delay * (1 + spec.jitter * (2 * math.random() - 1)), spec.max)
  end
  return math.floor(delay)
end

local count = tonumber(ARGV[3])
take_receipts(4 + count * 5)
local ids, outcomes = {}, {}
for i = 1, count do
  ids[i] = ARGV[i * 5 - 1]
end
local runs = read_runs(ids)

local back, order = {}, {}
local function give_back(id, run, delay, head)
  local spec = run.spec
  run.state = 'W'
  note_waiting(spec, id)
  if run.used == 0 then
    redis.call('HDEL', P .. 'run', id)
  else
    redis.call('HSET', P .. 'run', id, format_run(run))
  end
  if delay > 0 then
    push_delayed(spec, id, now + delay)
  else
    local key = (head and 'h' or 't') .. spec.tail
    local group = back[key]
    if not group then
      group = { spec = spec, head = head }
      back[key] = group
      order[#order + 1] = group
    end
    group[#group + 1] = id
  end
  changed(id)
end

-- Gives back what a stream may have lost. False: Redis knows that it arrived.
local function take_unreceived(id, run, token)
  if run.state ~= 'L' or not redis.call('ZSCORE', P .. 'unreceived', token) or received_alone(id, token) then
    return false
  end
  leave_leased(run.spec.tail, token, run.deadline, { id })
  if run.cancel then
    end_cancelled(id, run.spec, run.used)
  elseif end_unreceived(id, run) then
    give_back(id, run, 0, true)
  end
  return true
end

-- Whether a crash was one too many.
local function is_poison(id, run)
  return note_trouble(id, 1000) >= run.spec.crashes * 1000
end

local function settle(id, run, reason, delay, failure)
  leave_leased(run.spec.tail, int(run.token), run.deadline, { id })
  local unused = reason == 'u' or reason == 'b' or reason == 'r'
  if reason == 'c' or run.cancel then
    end_cancelled(id, run.spec, unused and run.used - 1 or run.used)
  elseif unused and (reason ~= 'r' or run.state == 'L') then
    run.used = run.used - 1
    give_back(id, run, delay or 0, true)
  elseif (reason == 'f' or (reason == 'k' and not is_poison(id, run))) and run.state == 'L'
    and run.used < run.attempts then
    redis.call('HSET', P .. 'error', id, failure)
    give_back(id, run, delay or retry_delay(run), false)
  elseif reason == 'r' then
    bury(id, run, 'released, but at-most-once items are not delivered again')
  else
    bury(id, run, failure)
  end
end

local given = {}
for i, id in ipairs(ids) do
  local base = i * 5 - 1
  local token, reason = ARGV[base + 1], ARGV[base + 2]
  local run = runs[i]
  local outcome = given[id] and EXPIRED or fence_run(id, token, run)
  outcomes[i] = outcome
  if outcome == OK and reason == 'n' then
    given[id] = take_unreceived(id, run, token)
  elseif outcome == OK then
    given[id] = true
    settle(id, run, reason, tonumber(ARGV[base + 3]), ARGV[base + 4])
  end
end
for _, group in ipairs(order) do
  push_ready(group.spec, group, group.head)
end
return { next_due(), outcomes }
