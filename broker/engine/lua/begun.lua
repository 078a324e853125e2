-- Notes that workers have begun items that they were given.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of entries (1-1000), then for each id, token; then tokens of shares that were
--          received
-- Reply    how many of them had not been known to have begun
--          One that is not leased under that token any more is passed: whoever has it now says so by itself.
-- Cost     O(1) an entry.
--- @drains
--- @include clock
--- @include records
--- @include events
--- @include receipts

local count = tonumber(ARGV[3])
take_receipts(4 + count * 2)
local ids = {}
for i = 1, count do
  ids[i] = ARGV[2 + i * 2]
end
local begun, known = {}, {}
for i, text in ipairs(redis.call('HMGET', P .. 'run', unpack(ids))) do
  local id, run = ids[i], text and parse_run(text) or UNREADABLE
  if run.unbegun and int(run.token) == ARGV[3 + i * 2] and run.deadline > now and not known[id] then
    known[id] = true
    run.unbegun = false
    begun[#begun + 1], begun[#begun + 2] = id, format_run(run)
  end
end
call_many('HSET', P .. 'run', begun)
for id in pairs(known) do
  changed(id)
end
return #begun / 2
