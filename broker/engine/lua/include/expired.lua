-- How an item ends that has waited too long. Apart from `expiring`: who only puts items in need not know how they end.
--- @include endings
--- @include records

-- Ends an item that has waited too long and stands nowhere any more: as a dead letter, or kept as failed with "X<text>",
-- which brokers that do not know of expiry read as a failure. `run` is nil if it has none.
local function end_expired(id, spec, run)
  local text = 'expired: not begun within ' .. string.format('%.15g', spec.expires / 1000000) .. ' s of its due time'
  if spec.dead then
    bury(id, run or {
      state = 'W', token = 0, used = 0, attempts = spec.attempts, lease = spec.lease, deadline = 0, cancel = false,
      spec = spec,
    }, text)
  else
    forget(id)
    keep_end(id, spec, 'F', run and run.used or 0, 'X' .. text)
  end
end
