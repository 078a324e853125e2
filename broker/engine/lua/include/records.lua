-- Reading and writing the two strings that describe an item (see keys.py for the glossary).
--   record = "<enqueued_us> <due_us> <spec>\n<body>"       written once, never changed
--   run    = "<state> <token> <used> <attempts> <lease_us> <deadline_us> <cancel> <spec>"
--            <cancel> is 1 for what somebody has cancelled, 2 for what its worker has not begun: it says so by itself when it
--            does (begun.lua). 0 is all else; what was cancelled counts as begun, and so does everything to a broker of an
--            earlier version
--   spec   = "<kind> <queue> <attempts> <lease_us> <retry_us> <factor> <max_us> <jitter> <dead> <keep_us>[ <word>...]"
-- with "-" for what is absent, ":" for no dead-letter queue. Specs repeat within a batch, so each is taken apart once
-- per call.
--
-- Further words are "<name>=<value>". Those that are not known here are kept with the text and ignored; what is missing
-- has its default:
--   v=<number>        version of the form, default 1. One above VERSION must not be guessed at: it cannot be read
--   crashes=<number>  processes that the item may kill, default 3
--   renew=1           who runs it renews its lease while it does; nothing here goes by it
--   limit=<us>        how long a run may take; nothing here goes by it either
--   expires=<us>      how long it may wait after it was due, see include/expiring.lua; default for ever
--   open=<letters>    what its producer left to who leases it: a its attempts, d its dead-letter queue
-- What cannot be read is nil (a spec, a record's spec, a split run) or UNREADABLE (a parsed run); whoever meets it sets
-- the item aside (include/aside.lua) and goes on with the others.
local P = KEYS[1]
local VERSION = 1
local specs = {}

local function int(n)
  return string.format('%.0f', n)
end

-- Whether further words can be read: nothing, or words with a version that is known here.
local function are_known(words)
  if words == '' then
    return true
  end
  local version = string.match(words, ' v=(%S+)') or '1'
  return string.sub(words, 1, 1) == ' ' and (tonumber(version) or VERSION + 1) <= VERSION
end

-- Numbers as this project writes them, which Lua and Python read alike; both know more forms, and not the same.
local WHOLE, DECIMAL = '^%d+$', '^%d[%d.e+-]*$'

local function is_retry(retry, factor, max, jitter)
  return string.find(retry, WHOLE) and string.find(max, WHOLE) and string.find(factor, DECIMAL)
    and string.find(jitter, DECIMAL) and tonumber(factor) and tonumber(jitter)
end

local function read_spec(text)
  local kind, queue, attempts, lease, retry, factor, max, jitter, dead, keep, words = string.match(
    text, '^([td]) (%S+) (%d+) (%d+) (%S+) (%S+) (%S+) (%S+) (%S+) (%d+)(.*)$')
  if not kind or not are_known(words) or (retry ~= '-' and not is_retry(retry, factor, max, jitter)) then
    return nil
  end
  local spec = {
    text = text, kind = kind, queue = queue, attempts = tonumber(attempts), lease = tonumber(lease),
    retry = tonumber(retry), factor = tonumber(factor), max = tonumber(max), jitter = tonumber(jitter),
    dead = dead ~= ':' and dead or nil, keep = tonumber(keep),
    tail = kind .. ':' .. queue, crashes = 3, open = '',
  }
  if words ~= '' then
    spec.open = string.match(words, ' open=(%l+)') or ''
    spec.expires = tonumber(string.match(words, ' expires=(%d+)'))
    spec.crashes = tonumber(string.match(words, ' crashes=(%d+)')) or spec.crashes
  end
  return spec
end

local function spec_of(text)
  local spec = specs[text]
  if spec == nil then
    spec = read_spec(text) or false
    specs[text] = spec
  end
  return spec or nil
end

-- The spec of a record: what stands between its two times and its first newline. Items of one enqueued batch have all of
-- that in common.
local heads = {}

local function record_spec(record)
  local head = string.sub(record, 1, (string.find(record, '\n', 1, true) or 1) - 1)
  local spec = heads[head]
  if spec == nil then
    local text = string.match(head, '^%d+ %d+ (.*)$')
    spec = text and spec_of(text) or false
    heads[head] = spec
  end
  return spec or nil
end

-- State, token (as text) and the rest of a run; the rest is shared and must not be changed: items that one call has
-- leased have the same run, so it too is taken apart once.
local splits = {}

local function read_run(text)
  local state, token, used, attempts, lease, deadline, cancel, words = string.match(
    text, '^([LOWX]) (%d+) (%d+) (%d+) (%d+) (%d+) (%d) (.*)$')
  local spec = state and spec_of(words)
  return spec and {
    state = state, token = token,
    rest = {
      used = tonumber(used), attempts = tonumber(attempts), lease = tonumber(lease), deadline = tonumber(deadline),
      cancel = cancel == '1', unbegun = cancel == '2', spec = spec,
    },
  }
end

local function split_run(text)
  local split = splits[text]
  if split == nil then
    split = read_run(text) or false
    splits[text] = split
  end
  if split then
    return split.state, split.token, split.rest
  end
end

-- Stands for a run that cannot be read: in no state that anything is done with, and without a spec.
local UNREADABLE = { state = '?' }

-- A run of one's own to change and format again, or UNREADABLE.
local function parse_run(text)
  local state, token, rest = split_run(text)
  return not state and UNREADABLE or {
    state = state, token = tonumber(token), used = rest.used, attempts = rest.attempts, lease = rest.lease,
    deadline = rest.deadline, cancel = rest.cancel, unbegun = rest.unbegun, spec = rest.spec,
  }
end

local function format_run(run)
  local is_out = run.state == 'L' or run.state == 'O'
  local flag = run.cancel and 1 or is_out and run.unbegun and 2 or 0
  return string.format('%s %.0f %d %d %.0f %.0f %d %s', run.state, run.token, run.used, run.attempts, run.lease,
    run.deadline, flag, run.spec.text)
end

-- Values of any number of fields of a hash.
local function hash_values(name, fields)
  local values = {}
  for first = 1, #fields, 4000 do
    for _, value in ipairs(redis.call('HMGET', P .. name, unpack(fields, first, math.min(first + 3999, #fields)))) do
      values[#values + 1] = value
    end
  end
  return values
end

-- Calls `command key` with any number of further arguments, in slices that unpack() can take.
local function call_many(command, key, args)
  for first = 1, #args, 4000 do
    redis.call(command, key, unpack(args, first, math.min(first + 3999, #args)))
  end
end
