-- Gives `now` as clock.lua does, moved forward by the microseconds in the key `shift`: tests travel in time.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2] + (tonumber(redis.call('GET', KEYS[1] .. 'shift') or '0'))
