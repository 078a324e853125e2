-- Leases that nobody has said to have received. `unreceived` zset: token of a share → the last end of its leases.

-- Deliveries of an item that may end without a receipt.
local MOST_UNRECEIVED = 20

-- Of the texts of runs those whose share has no receipt; nil: none.
local function unreceived_among(texts)
  if redis.call('EXISTS', P .. 'unreceived') == 0 then
    return nil
  end
  local tokens, found, marked = {}, {}, {}
  for _, text in ipairs(texts) do
    local _, token = split_run(text)
    if found[token] == nil then
      found[token] = false
      tokens[#tokens + 1] = token
    end
  end
  for i, score in ipairs(redis.call('ZMSCORE', P .. 'unreceived', unpack(tokens))) do
    found[tokens[i]] = score and true
  end
  for _, text in ipairs(texts) do
    local _, token = split_run(text)
    marked[text] = found[token]
  end
  return marked
end

-- Gives the attempt back; False: it was one time too many, and the item is dead. The new run goes into `updates`.
local function end_unreceived(id, run, updates)
  run.used = run.used - 1
  -- Crashes are counted in the thousands of the same number.
  if redis.call('HINCRBY', P .. 'trouble', id, 1) % 1000 >= MOST_UNRECEIVED then
    bury(id, run, 'was never received')
    return false
  end
  run.state = 'W'
  updates[#updates + 1] = id
  updates[#updates + 1] = format_run(run)
  return true
end

-- Marks of leases that are all over: older than the first thing that is due.
local function forget_unreceived()
  local head = redis.call('ZRANGE', P .. 'due', 0, 0, 'WITHSCORES')
  local before = head[2] and math.min(tonumber(head[2]), now) or now
  redis.call('ZREMRANGEBYSCORE', P .. 'unreceived', '-inf', '(' .. int(before))
end
