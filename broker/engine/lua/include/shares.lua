-- What one lease call leases for one stream is a share: its items have a token of their own, and until somebody says that
-- they arrived the token stands in `unreceived` (include/unreceived.lua).
--- @include clock
--- @include records

-- Deals items out to shares of these sizes, in order; what is beyond the last one belongs to it. `marked`: note the shares
-- as unreceived. `last_item` is the number of the item that is the last one of the current share.
local function new_shares(sizes, marked)
  local shares = { number = 1, last_item = tonumber(sizes[1]) or math.huge, marks = {} }
  local last, ends = nil, 0

  -- The token of the current share. Larger than any before, also after Redis lost its last writes in a crash: tokens never
  -- lag behind the clock.
  function shares.token()
    if not shares.current then
      last = last and last + 1 or math.max(tonumber(redis.call('GET', P .. 'token') or '0') + 1, now)
      shares.current = last
    end
    return shares.current
  end

  -- Notes when a lease of the current share ends.
  function shares.ends(deadline)
    ends = math.max(ends, deadline)
  end

  local function close()
    if marked and ends > 0 then
      shares.marks[#shares.marks + 1] = int(ends)
      shares.marks[#shares.marks + 1] = int(shares.current)
    end
    shares.current, ends = nil, 0
  end

  -- Goes on to the next share, if there is one.
  function shares.go_on()
    local size = sizes[shares.number + 1]
    shares.last_item = size and shares.last_item + tonumber(size) or math.huge
    if size then
      close()
      shares.number = shares.number + 1
    end
  end

  function shares.write()
    close()
    if last then
      redis.call('SET', P .. 'token', int(last))
    end
    if #shares.marks > 0 then
      call_many('ZADD', P .. 'unreceived', shares.marks)
    end
  end

  return shares
end
