-- What other processes hear, as hints only. Channel in `CHANNEL`; messages:
--   "r <namespace> <kind> <queue>"  a queue has something ready and somebody waits for it; with "x" before its kind a
--                                   dead-letter queue has something in it. Behind the queue may stand " <origin>", the
--                                   engine that has told its own waiters already
--   "s <namespace> <id>"            an item that somebody watches changed its state
--   "c <namespace> <id> <token>"    an item that runs under that token shall be cancelled
--   "w <namespace> <id> <worker> <command>"  what a worker is to do, both in base 64; brokers say it, no script does
--   "k <namespace> <id>"            a command has been passed on; likewise
--   "d <namespace> -"               the namespace has been deleted; brokers tell it, no script does
-- Nothing is published while nobody waits: hungry brokers and watched ids are noted in Redis.
--- @include records
local NAMESPACE, CHANNEL = ARGV[1], ARGV[2]

local function publish(kind, rest)
  redis.call('PUBLISH', CHANNEL, kind .. ' ' .. NAMESPACE .. ' ' .. rest)
end

-- Notes which queues somebody waits for, at most 1,000 at a time. It holds for a while: who still waits then asks again. Of
-- too many some are dropped, such as those that nobody waits for any more; who waits for one of them looks for itself.
local HUNGER_MS, MOST_HUNGRY = 7200000, 20000

local function note_hunger(kind, queues)
  local key = P .. 'hungry:' .. kind
  redis.call('SADD', key, unpack(queues))
  redis.call('PEXPIRE', key, HUNGER_MS)
  local surplus = redis.call('SCARD', key) - MOST_HUNGRY
  if surplus > 0 then
    redis.call('SPOP', key, surplus)
  end
end

-- `origin`: the engine that has told its own waiters already; nil: there is none.
local function wake(kind, queue, origin)
  if redis.call('SREM', P .. 'hungry:' .. kind, queue, '*') > 0 then
    publish('r', kind .. ' ' .. queue .. (origin and ' ' .. origin or ''))
  end
end

local any_watched

-- Whether `changed` needs to be called at all.
local function are_watched()
  if any_watched == nil then
    any_watched = redis.call('EXISTS', P .. 'watch') == 1
  end
  return any_watched
end

local function changed(id)
  if are_watched() and redis.call('ZREM', P .. 'watch', id) == 1 then
    publish('s', id)
  end
end
