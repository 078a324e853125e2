-- Notes that answers of leases have arrived and that shares have been received, when nothing else goes to Redis.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of callers (0-1000), for each its name and the number of its call; then tokens of
--          shares that were received, at most 1,000
-- Reply    1
-- Cost     O(callers + tokens).
--- @drains
--- @include receipts
--- @include answers

local callers = tonumber(ARGV[3])
for i = 1, callers do
  local caller = ARGV[2 + 2 * i]
  local sequence, has_copies = last_call(caller)
  if sequence and sequence <= tonumber(ARGV[3 + 2 * i]) then
    drop_answer(caller, sequence, has_copies)
  end
end
take_receipts(4 + 2 * callers)
return 1
