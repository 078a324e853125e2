-- How an item ends. Every path here takes the item out of `item` and `run`, or leaves it dead.
--- @include bytes
--- @include clock
--- @include events
--- @include records

local any_trouble

-- Whether there is anything in `trouble`; see include/unreceived.lua.
local function is_trouble()
  if any_trouble == nil then
    any_trouble = redis.call('EXISTS', P .. 'trouble') == 1
  end
  return any_trouble
end

-- Counts what went wrong with an item; answers the count.
local function note_trouble(id, number)
  any_trouble = true
  return redis.call('HINCRBY', P .. 'trouble', id, number)
end

local function forget(id)
  drop_items({ id })
  redis.call('HDEL', P .. 'run', id)
  redis.call('HDEL', P .. 'error', id)
  if is_trouble() then
    redis.call('HDEL', P .. 'trouble', id, id .. ' r')
  end
end

-- How long the note stands that ends are kept; see keys.py.
local ends_noted_ms

local function note_ends(keep_ms)
  ends_noted_ms = ends_noted_ms or redis.call('PTTL', P .. 'ends')
  if ends_noted_ms < keep_ms then
    -- Longer than needed, so that not every call has to.
    ends_noted_ms = keep_ms + math.floor(keep_ms / 4) + 1000
    redis.call('SET', P .. 'ends', '', 'PX', int(ends_noted_ms))
  end
end

-- Keeps the final state for the item's result_ttl: "<state> <used> <kind> <queue> <R|E|->[text]".
local function keep_end(id, spec, state, used, content)
  if spec.keep > 0 then
    local keep_ms = math.max(1, math.floor(spec.keep / 1000))
    -- Joined, not formatted: string.format cuts short strings off at a zero byte.
    local ending = state .. ' ' .. int(used) .. ' ' .. spec.kind .. ' ' .. spec.queue .. ' ' .. content
    redis.call('SET', P .. 'end:' .. id, ending, 'PX', int(keep_ms))
    note_ends(keep_ms)
  end
  changed(id)
end

-- Dead letter or dropped: the item's attempts are used up (or it was rejected).
local function bury(id, run, failure)
  local spec = run.spec
  if spec.dead then
    run.state, run.cancel = 'X', false
    redis.call('HSET', P .. 'run', id, format_run(run))
    redis.call('HSET', P .. 'error', id, failure)
    redis.call('ZADD', P .. 'dead:' .. spec.kind .. ':' .. spec.dead, int(now), id)
    redis.call('HINCRBY', P .. 'deaths:' .. spec.kind, spec.queue, 1)
    redis.call('SADD', P .. 'deadqueues:' .. spec.kind, spec.dead)
    if is_trouble() then
      redis.call('HDEL', P .. 'trouble', id, id .. ' r')
    end
    wake('x' .. spec.kind, spec.dead)
    changed(id)
  else
    forget(id)
    keep_end(id, spec, 'F', run.used, 'E' .. failure)
  end
end

local function end_cancelled(id, spec, used)
  forget(id)
  keep_end(id, spec, 'C', used, '-')
end
