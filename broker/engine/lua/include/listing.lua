-- A page of a directory: {names, values, ends as text, name to go on after ("" the end)}. Looks at `wanted` names; those
-- whose end has come are left out.
--- @include clock
--- @include records
local function list_entries(directory, wanted, after)
  local found = redis.call('ZRANGEBYLEX', P .. directory .. ':names', after == '' and '-' or '(' .. after, '+',
    'LIMIT', 0, wanted)
  local names, values, times = {}, {}, {}
  if #found > 0 then
    local contents = redis.call('HMGET', P .. directory, unpack(found))
    local ends = redis.call('ZMSCORE', P .. directory .. ':ends', unpack(found))
    for i, name in ipairs(found) do
      if contents[i] and ends[i] and tonumber(ends[i]) > now then
        names[#names + 1] = name
        values[#values + 1] = contents[i]
        times[#times + 1] = int(tonumber(ends[i]))
      end
    end
  end
  return { names, values, times, #found == wanted and found[#found] or '' }
end
