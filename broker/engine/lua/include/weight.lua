-- Bytes that an item takes of a message: its id, record and error text, and ITEM_OVERHEAD for numbers, times and the names
-- of fields. What is handed out or listed is counted so against the room that the settings leave.
local ITEM_OVERHEAD = 256

local function weight(id, record, failure)
  return #id + #record + #failure + ITEM_OVERHEAD
end
