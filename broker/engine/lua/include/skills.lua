-- Which tasks the connected workers can run. Workers with the same tasks share one skill set, named by a digest;
-- "*" is that of workers that take any task.
--   skills             zset  digest → when the last of its workers must have been heard of again
--   skilled:<digest>   zset  worker → when it must have been heard of again
--   skills:<digest>    set   names of tasks
--- @include clock
--- @include records
local live_skills

-- Number of connected workers that can run a task.
local function workers_knowing(task)
  live_skills = live_skills or redis.call('ZRANGEBYSCORE', P .. 'skills', '(' .. int(now), '+inf')
  local count = 0
  for _, digest in ipairs(live_skills) do
    if digest == '*' or redis.call('SISMEMBER', P .. 'skills:' .. digest, task) == 1 then
      count = count + redis.call('ZCOUNT', P .. 'skilled:' .. digest, '(' .. int(now), '+inf')
    end
  end
  return count
end

-- Whether a connected worker can run a task.
local function worker_knows(task)
  return workers_knowing(task) > 0
end
