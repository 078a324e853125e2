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

-- The spec of a record: what stands between its two times and its first newline. Items of one enqueued batch have all of
-- that in common.
local heads = {}

local function record_spec(record)
  local head = string.sub(record, 1, string.find(record, '\n', 1, true) - 1)
  local spec = heads[head]
  if not spec then
    spec = spec_of(string.match(head, '^%d+ %d+ (.*)$'))
    heads[head] = spec
  end
  return spec
end

-- State, token (as text) and the rest of a run; the rest is shared and must not be changed: items that one call has
-- leased have the same run, so it too is taken apart once.
local splits = {}

local function split_run(text)
  local split = splits[text]
  if not split then
    local state, token, used, attempts, lease, deadline, cancel, spec = string.match(
      text, '^(%a) (%d+) (%d+) (%d+) (%d+) (%d+) (%d) (.*)$')
    split = {
      state = state, token = token,
      rest = {
        used = tonumber(used), attempts = tonumber(attempts), lease = tonumber(lease), deadline = tonumber(deadline),
        cancel = cancel == '1', spec = spec_of(spec),
      },
    }
    splits[text] = split
  end
  return split.state, split.token, split.rest
end

-- A run of one's own to change and format again.
local function parse_run(text)
  local state, token, rest = split_run(text)
  return {
    state = state, token = tonumber(token), used = rest.used, attempts = rest.attempts, lease = rest.lease,
    deadline = rest.deadline, cancel = rest.cancel, spec = rest.spec,
  }
end

local function format_run(run)
  return string.format('%s %.0f %d %d %.0f %.0f %d %s', run.state, run.token, run.used, run.attempts, run.lease,
    run.deadline, run.cancel and 1 or 0, run.spec.text)
end

-- Calls `command key` with any number of further arguments, in slices that unpack() can take.
local function call_many(command, key, args)
  for first = 1, #args, 4000 do
    redis.call(command, key, unpack(args, first, math.min(first + 3999, #args)))
  end
end
