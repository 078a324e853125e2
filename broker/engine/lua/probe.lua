-- Shows that scripts run and that this Redis takes writes, also while its memory is full.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel
-- Reply    now in us
-- Cost     O(1).
--- @drains
--- @include clock
redis.call('UNLINK', KEYS[1] .. 'probe')
return now
