-- Gives `now` for tests that travel in time: the microseconds in the key `frozen`, or, without it, as clock.lua does
-- but moved forward by the microseconds in the key `shift`.
local clock = redis.call('TIME')
local now = tonumber(redis.call('GET', KEYS[1] .. 'frozen'))
  or clock[1] * 1000000 + clock[2] + (tonumber(redis.call('GET', KEYS[1] .. 'shift')) or 0)
