-- Looks registered tasks up by name.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, number of names (1-1000), names
-- Reply    {names that are known, values as in list_tasks.lua}
-- Cost     O(names).
--- @include directory

local names, values = {}, {}
for i = 1, tonumber(ARGV[3]) do
  local value = get_entry('task', ARGV[3 + i])
  if value then
    names[#names + 1], values[#values + 1] = ARGV[3 + i], value
  end
end
return { names, values }
