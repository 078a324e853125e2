-- Answers a new lease token for the items that a call leases: an item's next lease is another call's. It is larger than
-- any before, also after Redis lost its last writes in a crash: tokens never lag behind the clock.
local function new_token()
  local token = math.max(tonumber(redis.call('GET', P .. 'token') or '0') + 1, now)
  redis.call('SET', P .. 'token', int(token))
  return token
end
