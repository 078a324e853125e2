-- Does what time has made due: delayed items become ready, leases that ran out end.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, items at most
-- Reply    {next due time in us or -1, now in us, next look at a schedule in us or -1, ready task queues, ready data
--          queues}: names of up to 1,000 queues of each kind that have something ready, for waiters that missed a hint
-- Cost     O(log n) an item moved, O(ready queues named).
--- @include clock
--- @include records
--- @include events
--- @include queues
--- @include leased
--- @include aside
--- @include endings
--- @include unreceived
--- @include advance
--- @include timetable

advance(tonumber(ARGV[3]))
forget_unreceived()
sweep_trouble()
return {
  next_due(), now, next_look(),
  redis.call('ZRANGE', P .. 'ready:t', 0, 999), redis.call('ZRANGE', P .. 'ready:d', 0, 999),
}
