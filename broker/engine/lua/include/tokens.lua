-- Reserves `count` lease tokens and answers the first. Tokens are larger than any before, also after Redis
-- lost its last writes in a crash: they never lag behind the clock.
local function reserve_tokens(count)
  local first = math.max(tonumber(redis.call('GET', P .. 'token') or '0') + 1, now)
  redis.call('SET', P .. 'token', int(first + count - 1))
  return first
end
