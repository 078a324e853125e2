-- Taking dead letters out of their queue. A spec without a queue: it cannot be told which one they came from, and that
-- one goes on counting them.
--- @include records

local function leave_dead(spec, ids)
  local set = P .. 'dead:' .. spec.kind .. ':' .. spec.dead
  call_many('ZREM', set, ids)
  if spec.queue and redis.call('HINCRBY', P .. 'deaths:' .. spec.kind, spec.queue, -#ids) <= 0 then
    redis.call('HDEL', P .. 'deaths:' .. spec.kind, spec.queue)
  end
  if redis.call('EXISTS', set) == 0 then
    redis.call('SREM', P .. 'deadqueues:' .. spec.kind, spec.dead)
  end
end
