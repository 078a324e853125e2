-- Taking dead letters out of their queue.

local function leave_dead(spec, ids)
  local set = P .. 'dead:' .. spec.kind .. ':' .. spec.dead
  call_many('ZREM', set, ids)
  if redis.call('HINCRBY', P .. 'deaths:' .. spec.kind, spec.queue, -#ids) <= 0 then
    redis.call('HDEL', P .. 'deaths:' .. spec.kind, spec.queue)
  end
  if redis.call('EXISTS', set) == 0 then
    redis.call('SREM', P .. 'deadqueues:' .. spec.kind, spec.dead)
  end
end
