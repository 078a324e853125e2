-- Deliveries that nobody has said to have received.
--   unreceived  zset  token of a share (what one call leased for one stream) → the last end of its leases
--   trouble     hash  id → deliveries that ended without a receipt + 1000 * processes that it killed
--                     "<id> r" → token of a delivery that was received although its share is not known to be
--- @include clock
--- @include endings
--- @include records

-- Deliveries of an item that may end without a receipt.
local MOST_UNRECEIVED = 20

-- Of the texts of runs that can be read those whose share has no receipt, as a set; nil: none.
local function unreceived_among(texts)
  if redis.call('EXISTS', P .. 'unreceived') == 0 then
    return nil
  end
  local tokens, asked = {}, {}
  for _, text in ipairs(texts) do
    local _, token = split_run(text)
    if token and not asked[token] then
      asked[token] = true
      tokens[#tokens + 1] = token
    end
  end
  if #tokens == 0 then
    return nil
  end
  local standing, marked = {}, {}
  for i, score in ipairs(redis.call('ZMSCORE', P .. 'unreceived', unpack(tokens))) do
    standing[tokens[i]] = score and true
  end
  for _, text in ipairs(texts) do
    local _, token = split_run(text)
    marked[text] = token and standing[token]
  end
  return marked
end

-- Whether this item's delivery was received, whatever is known of its share.
local function received_alone(id, token)
  return redis.call('HGET', P .. 'trouble', id .. ' r') == token
end

-- Gives the attempt of an unreceived delivery back. False: it was one time too many, and the item is dead. Otherwise it
-- waits, and its run is to be written.
local function end_unreceived(id, run)
  run.used = run.used - 1
  if note_trouble(id, 1) % 1000 >= MOST_UNRECEIVED then
    bury(id, run, 'was never received')
    return false
  end
  run.state = 'W'
  return true
end

-- Forgets what is noted of items that ended without that being known here: by brokers of an earlier version. A few at a
-- time, at random.
local function sweep_trouble()
  if is_trouble() then
    for _, field in ipairs(redis.call('HRANDFIELD', P .. 'trouble', 5)) do
      if redis.call('HEXISTS', P .. 'item', (string.gsub(field, ' r$', ''))) == 0 then
        redis.call('HDEL', P .. 'trouble', field)
      end
    end
  end
end

-- Forgets marks of leases that are all over: those that end before the first thing that is due.
local function forget_unreceived()
  local head = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
  local before = head[2] and math.min(tonumber(head[2]), now) or now
  redis.call('ZREMRANGEBYSCORE', P .. 'unreceived', '-inf', '(' .. int(before))
end
