-- Bytes that an item takes of a message: its id, record and error text, and ITEM_OVERHEAD for numbers, times and the names
-- of fields. What is handed out or listed is counted so against the room that the settings leave.
--- @include records
local ITEM_OVERHEAD = 256

local function weight(id, record, failure)
  return #id + #record + #failure + ITEM_OVERHEAD
end

-- Up to which place of `ids`, from `first` on, records may be read at once: those that fit into a room together, and the
-- first that does not. Their lengths are asked for before: a record may be large.
local function last_to_read(ids, first, room)
  local last = first
  while last < #ids do
    room = room - redis.call('HSTRLEN', P .. 'item', ids[last]) - #ids[last] - ITEM_OVERHEAD
    if room < 0 then
      break
    end
    last = last + 1
  end
  return last
end
