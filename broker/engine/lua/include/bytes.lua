-- How many bytes the records of a namespace are, counted where somebody asks for it. All that puts records in or takes
-- them out does so here.
--   bytes    hash  total → bytes of the records that are counted; since → when the count began; while it goes through those
--                  that were there before, cursor → how far it is
--   weighed  set   ids that are counted, for so long
--- @include records

local any_bytes, weighing
local bytes_moved = 0

local function are_bytes_counted()
  if any_bytes == nil then
    any_bytes = redis.call('EXISTS', P .. 'bytes') == 1
    weighing = any_bytes and redis.call('HEXISTS', P .. 'bytes', 'cursor') == 1
  end
  return any_bytes
end

-- Counts bytes of an id that come (or, below 0, go). `write_bytes` writes them down.
local function move_bytes(id, size)
  if weighing then
    local is_new = redis.call(size > 0 and 'SADD' or 'SREM', P .. 'weighed', id) == 1
    -- What the count has not come to yet it need not be told of.
    size = is_new and size or 0
  end
  bytes_moved = bytes_moved + size
end

local function write_bytes()
  if bytes_moved ~= 0 then
    redis.call('HINCRBY', P .. 'bytes', 'total', int(bytes_moved))
    bytes_moved = 0
  end
end

-- Takes records out, each id once.
local function drop_items(ids)
  if are_bytes_counted() then
    for _, id in ipairs(ids) do
      move_bytes(id, -redis.call('HSTRLEN', P .. 'item', id))
    end
    write_bytes()
  end
  call_many('HDEL', P .. 'item', ids)
end

-- Puts records in: id and record in turn. Of an id that comes twice the last one stays.
local function put_items(records)
  if are_bytes_counted() then
    local last = {}
    for i = 1, #records, 2 do
      last[records[i]] = #records[i + 1]
    end
    for id, size in pairs(last) do
      local before = redis.call('HSTRLEN', P .. 'item', id)
      if before > 0 then
        move_bytes(id, -before)
      end
      move_bytes(id, size)
    end
    write_bytes()
  end
  call_many('HSET', P .. 'item', records)
end
