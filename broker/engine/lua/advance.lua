-- Does what time has made due: delayed items become ready, leases that ran out end.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, items at most
-- Reply    {next due time in us or -1, now in us, next look at a schedule in us or -1, ready task queues, ready data
--          queues}: names of up to 1,000 queues of each kind that have something ready, and of those with parked items, for waiters
--          that missed a hint
-- Cost     O(log n) an item moved, O(ready queues named + pairs of queue and task that are parked).
--- @drains
--- @include clock
--- @include records
--- @include queues
--- @include unreceived
--- @include advance
--- @include parked
--- @include timetable

advance(tonumber(ARGV[3]))
forget_unreceived()
sweep_trouble()

local function ready_queues(kind)
  local queues = redis.call('ZRANGE', P .. 'ready:' .. kind, 0, 999)
  for _, queue in ipairs(open_parked_queues(kind)) do
    queues[#queues + 1] = queue
  end
  return queues
end

return { next_due(), now, next_look(), ready_queues('t'), ready_queues('d') }
