-- Gives `now`: Redis's clock in integer microseconds, read once per script; the only clock there is.
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
