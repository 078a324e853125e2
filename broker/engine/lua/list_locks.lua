-- Lists locks that are held, by name.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, locks wanted (1-1000), name after which to begin ("" at the first)
-- Reply    {names, values as "<length in us> <owner>", ends in us, name to go on after ("" the end)}
-- Cost     O(log n + locks wanted).
--- @include listing

return list_entries('lock', tonumber(ARGV[3]), ARGV[4])
