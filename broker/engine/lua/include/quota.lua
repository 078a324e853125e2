-- What a namespace may hold, and what new items take of it.
--- @include bytes
--- @include records

-- What stands instead of a reply, or of the codes of a request, for what would go beyond a quota: nothing of it was done.
local function refusal(name, most, used)
  return '!' .. name .. ' ' .. int(most) .. ' ' .. int(used)
end

-- From "<items> <bytes> <queues> <time>" (0: any number); nil from "": nothing is limited. Bytes that were counted from
-- `time` on or before are not to be trusted.
local function read_quota(text)
  if text == '' then
    return nil
  end
  local most = {}
  for number in string.gmatch(text, '%d+') do
    most[#most + 1] = tonumber(number)
  end
  local quota = { uncounted = false }
  local limits, new_queues, known_queues = {}, {}, {}
  if most[1] > 0 then
    limits[#limits + 1] = { name = 'items', most = most[1], used = redis.call('HLEN', P .. 'item'), more = 0 }
    quota.items = limits[#limits]
  end
  if most[3] > 0 then
    local used = redis.call('HLEN', P .. 'seen:t') + redis.call('HLEN', P .. 'seen:d')
    limits[#limits + 1] = { name = 'queues', most = most[3], used = used, more = 0 }
    quota.queues = limits[#limits]
  end
  if most[2] > 0 then
    local found = redis.call('HMGET', P .. 'bytes', 'total', 'since', 'cursor')
    if found[1] and not found[3] and found[1] ~= '0' and redis.call('EXISTS', P .. 'item') == 0 then
      -- Whatever may have gone wrong with the count: of nothing it is nothing.
      move_bytes(nil, -tonumber(found[1]))
      found[1] = '0'
    end
    if found[1] and tonumber(found[2]) > most[4] and not found[3] then
      limits[#limits + 1] = { name = 'bytes', most = most[2], used = tonumber(found[1]), more = 0 }
      quota.bytes = limits[#limits]
    else
      quota.uncounted = true
    end
  end

  -- Notes what would come: items, bytes (or, below 0, go), a queue.
  function quota.takes_item()
    if quota.items then
      quota.items.more = quota.items.more + 1
    end
  end

  function quota.takes_bytes(size)
    if quota.bytes then
      quota.bytes.more = quota.bytes.more + size
    end
  end

  function quota.takes_queue(spec)
    if quota.queues and not known_queues[spec.tail] and not new_queues[spec.tail] then
      if redis.call('HEXISTS', P .. 'seen:' .. spec.kind, spec.queue) == 1 then
        known_queues[spec.tail] = true
      else
        new_queues[spec.tail] = true
        quota.queues.more = quota.queues.more + 1
      end
    end
  end

  -- Ends what was noted since the last time: nil, there is room for it; or a refusal, and it is forgotten.
  function quota.decide()
    local refused
    for _, limit in ipairs(limits) do
      if limit.more > 0 and limit.used + limit.more > limit.most then
        refused = refused or refusal(limit.name, limit.most, limit.used)
      end
    end
    for _, limit in ipairs(limits) do
      limit.used = limit.used + (refused and 0 or limit.more)
      limit.more = 0
    end
    for tail in pairs(new_queues) do
      known_queues[tail] = not refused or nil
    end
    new_queues = {}
    return refused
  end

  return quota
end
