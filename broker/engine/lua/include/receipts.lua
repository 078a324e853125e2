-- Receipts ride on other calls: the tokens of shares that were received stand behind a script's own arguments.
-- See include/unreceived.lua.
--- @include records
local function take_receipts(first)
  if #ARGV >= first then
    redis.call('ZREM', P .. 'unreceived', unpack(ARGV, first))
  end
end
