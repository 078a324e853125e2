-- Lists workers that are connected to any broker, by name.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, workers wanted (1-1000), name after which to begin ("" at the first)
-- Reply    {names, values as "<skill set> <last report in us> <info>", ends in us, name to go on after ("" the end)}
-- Cost     O(log n + workers wanted).
--- @include listing

return list_entries('worker', tonumber(ARGV[3]), ARGV[4])
