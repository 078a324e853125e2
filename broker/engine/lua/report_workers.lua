-- Notes workers that are connected to a broker, and those that are no more.
--
-- KEYS[1]  prefix "dibs:{<namespace>:0}:"
-- ARGV     namespace, channel, us until a worker must have been reported again, number of workers (0-500), for each
--          name, skill set ("*" any task, "-" none, or a digest), info; number that are gone, their names
-- Reply    digests of skill sets whose task names are not known here: see teach_skills.lua
-- Cost     O(log n) a worker.
--- @drains
--- @include clock
--- @include records
--- @include directory

local lifetime, workers = tonumber(ARGV[3]), tonumber(ARGV[4])
local ends = now + lifetime

-- A skill set is there as long as one of its workers is.
local function reindex(skills)
  local key = P .. 'skilled:' .. skills
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(now))
  local last = redis.call('ZRANGE', key, -1, -1, 'WITHSCORES')
  if last[2] then
    redis.call('ZADD', P .. 'skills', last[2], skills)
    redis.call('PEXPIRE', key, int(lifetime / 1000 * 4))
  else
    redis.call('ZREM', P .. 'skills', skills)
  end
end

drop_ended('worker')
local touched = {}
for i = 1, workers do
  local name, skills, info = ARGV[2 + i * 3], ARGV[3 + i * 3], ARGV[4 + i * 3]
  put_entry('worker', name, skills .. ' ' .. int(now) .. ' ' .. info, ends)
  if skills ~= '-' then
    touched[skills] = true
    redis.call('ZADD', P .. 'skilled:' .. skills, int(ends), name)
  end
end

local at, gone = 6 + workers * 3, {}
for i = 0, tonumber(ARGV[at - 1]) - 1 do
  local name = ARGV[at + i]
  local info = redis.call('HGET', P .. 'worker', name)
  local skills = info and string.match(info, '^%S+')
  if skills and skills ~= '-' then
    touched[skills] = true
    redis.call('ZREM', P .. 'skilled:' .. skills, name)
  end
  gone[#gone + 1] = name
end
drop_entries('worker', gone)

local untaught = {}
redis.call('ZREMRANGEBYSCORE', P .. 'skills', '-inf', int(now))
for skills in pairs(touched) do
  reindex(skills)
  if skills ~= '*' and redis.call('PEXPIRE', P .. 'skills:' .. skills, int(lifetime / 1000 * 4)) == 0 then
    untaught[#untaught + 1] = skills
  end
end
return untaught
