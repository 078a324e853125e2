-- Schedules and how they stand, by name.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, schedules at most (1-1000), bytes at most (but at least one schedule),
--          name after which to go on ("" from the start)
-- Reply    {names, schedules, plans (see include/schedules.lua; "" cannot be read), name to go on after ("" the end)}
-- Cost     O(log n) a schedule.
--- @include records
--- @include schedules

local wanted, room, after = tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local found = redis.call('ZRANGEBYLEX', P .. 'schedules', after == '' and '-' or '(' .. after, '+', 'LIMIT', 0, wanted)
local names, schedules, plans = {}, {}, {}
for i, name in ipairs(found) do
  local schedule, readable = redis.call('HGET', P .. 'schedule', name) or '', read_schedule(name)
  schedule = readable and readable.spec and schedule or ''
  room = room - #schedule
  if room < 0 and i > 1 then
    break
  end
  names[i], schedules[i], plans[i] = name, schedule, read_plan(name) and redis.call('HGET', P .. 'plan', name) or ''
end
return { names, schedules, plans, (#names < #found or #found == wanted) and names[#names] or '' }
