-- Lists registered tasks by name.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, tasks wanted (1-1000), name after which to begin ("" at the first)
-- Reply    {names, values as "<registered at in us> <definition>", ends in us, name to go on after ("" the end)}
-- Cost     O(log n + tasks wanted).
--- @include listing

return list_entries('task', tonumber(ARGV[3]), ARGV[4])
