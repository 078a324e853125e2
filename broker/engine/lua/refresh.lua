-- Lengthens leases.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of entries (1-1000), then for each
--          id, token ("" unfenced), new length in us from now ("" as before); then tokens of shares that were received
-- Reply    {outcome codes (see fence.lua), 1 for each entry whose item somebody cancelled, else 0}
-- Cost     O(log n) an entry.
--- @drains
--- @include clock
--- @include records
--- @include leased
--- @include fence
--- @include receipts

local count = tonumber(ARGV[3])
local ids, outcomes, cancelled = {}, {}, {}
for i = 1, count do
  ids[i] = ARGV[1 + i * 3]
end
take_receipts(4 + count * 3)

-- Whoever refreshes a lease has received it, though its share may not be known to have arrived.
local any_unreceived = redis.call('EXISTS', P .. 'unreceived') == 1
local function note_received(id, token)
  if any_unreceived and redis.call('ZSCORE', P .. 'unreceived', token) then
    redis.call('HSET', P .. 'trouble', id .. ' r', token)
  end
end

local runs, first = read_runs(ids), {}
for i, id in ipairs(ids) do
  -- An id that comes twice is refreshed twice: "as before" is then what the first asked for.
  local run = first[id] or runs[i]
  first[id] = run
  local outcome = fence_run(id, ARGV[2 + i * 3], run)
  outcomes[i] = outcome
  cancelled[i] = outcome == OK and run.cancel and 1 or 0
  -- A started at-most-once item has no lease to lengthen.
  if outcome == OK and run.state == 'L' then
    local token = int(run.token)
    run.lease = tonumber(ARGV[3 + i * 3]) or run.lease
    run.deadline = move_lease(run.spec, id, token, run.deadline, now + run.lease)
    redis.call('HSET', P .. 'run', id, format_run(run))
    note_received(id, token)
  end
end
return { outcomes, cancelled }
