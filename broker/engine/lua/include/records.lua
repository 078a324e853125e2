-- Reading and writing the two strings that describe an item (see keys.py for the glossary).
--   record = "<enqueued_us> <due_us> <spec>\n<body>"       written once, never changed
--   run    = "<state> <token> <used> <attempts> <lease_us> <deadline_us> <cancel> <spec>"
--   spec   = "<kind> <queue> <attempts> <lease_us> <retry_us> <factor> <max_us> <jitter> <dead> <keep_us>"
-- with "-" for what is absent, ":" for no dead-letter queue. Specs repeat within a batch, so each is taken apart once
-- per call.
local P = KEYS[1]
local specs = {}

local function int(n)
  return string.format('%.0f', n)
end

local function spec_of(text)
  local spec = specs[text]
  if not spec then
    local kind, queue, attempts, lease, retry, factor, max, jitter, dead, keep = string.match(
      text, '^(%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+) (%S+)$')
    spec = {
      text = text, kind = kind, queue = queue, attempts = tonumber(attempts), lease = tonumber(lease),
      retry = tonumber(retry), factor = tonumber(factor), max = tonumber(max), jitter = tonumber(jitter),
      dead = dead ~= ':' and dead or nil, keep = tonumber(keep),
      tail = kind .. ':' .. queue,
    }
    specs[text] = spec
  end
  return spec
end

-- The spec of a record: everything before its first newline but the two times.
local function record_spec(record)
  return spec_of(string.match(record, '^%d+ %d+ ([^\n]*)\n'))
end

-- What follows state and token in a run is the same for all items of one lease call, so it too is taken apart once.
local tails = {}

local function tail_of(text)
  local tail = tails[text]
  if not tail then
    local used, attempts, lease, deadline, cancel, spec = string.match(text, '^(%d+) (%d+) (%d+) (%d+) (%d) (.*)$')
    tail = {
      used = tonumber(used), attempts = tonumber(attempts), lease = tonumber(lease), deadline = tonumber(deadline),
      cancel = cancel == '1', spec = spec_of(spec),
    }
    tails[text] = tail
  end
  return tail
end

-- State, token (as text) and the rest of a run; the rest is shared and must not be changed.
local function split_run(text)
  local state, token, rest = string.match(text, '^(%a) (%d+) (.*)$')
  return state, token, tail_of(rest)
end

-- A run of one's own to change and format again.
local function parse_run(text)
  local state, token, tail = split_run(text)
  return {
    state = state, token = tonumber(token), used = tail.used, attempts = tail.attempts, lease = tail.lease,
    deadline = tail.deadline, cancel = tail.cancel, spec = tail.spec,
  }
end

local function format_tail(run)
  return string.format('%d %d %.0f %.0f %d %s', run.used, run.attempts, run.lease, run.deadline, run.cancel and 1 or 0,
    run.spec.text)
end

local function format_run(run)
  return run.state .. ' ' .. int(run.token) .. ' ' .. format_tail(run)
end

-- Calls `command key` with any number of further arguments, in slices that unpack() can take.
local function call_many(command, key, args)
  for first = 1, #args, 4000 do
    redis.call(command, key, unpack(args, first, math.min(first + 3999, #args)))
  end
end
