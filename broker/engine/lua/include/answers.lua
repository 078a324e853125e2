-- The answer to a caller's last lease call, kept in case it gets lost on its way.
--   answer:<caller>  string  "<sequence, 15 digits><1 if there are copies, else 0>" and, if anything was leased, what
--                            `packed` below holds
--   copies:<caller>  list    id, record of items that were handed out at most once and are gone from everywhere else
-- At-least-once items need no copy: they are found by the ends of their leases and the tokens.
--- @include leased
--- @include records

-- The sequence of the caller's last call and whether it has copies; nil if there was none.
local function last_call(caller)
  local head = redis.call('GETRANGE', P .. 'answer:' .. caller, 0, 15)
  return tonumber(string.sub(head, 1, 15)), string.sub(head, 16) == '1'
end

-- {ids, records, stretches} of the answer that is kept, without what has ended since. One that found nothing, or whose
-- answer has arrived, has nothing for ever: a copy of the call that was held up must not take anything.
local function kept_answer(caller, has_copies)
  local packed = redis.call('GETRANGE', P .. 'answer:' .. caller, 16, -1)
  if packed == '' then
    return { {}, {}, {} }
  end
  local stretches, sets, tokens = unpack(cmsgpack.unpack(packed))
  local ids, records = {}, {}
  local copies = has_copies and redis.call('LRANGE', P .. 'copies:' .. caller, 0, -1) or {}
  for i = 1, #copies, 2 do
    ids[#ids + 1], records[#records + 1] = copies[i], copies[i + 1]
  end

  local function add(id, share, text)
    local run = text and parse_run(text) or UNREADABLE
    -- What has left another share that ends at the same time stands there as well.
    local is_here = run ~= UNREADABLE and tokens[int(run.token)] and (not share or is_in_share(run, share))
    local record = is_here and redis.call('HGET', P .. 'item', id)
    if record then
      ids[#ids + 1], records[#records + 1] = id, record
      local failure = redis.call('HGET', P .. 'error', id) or ''
      for _, term in ipairs({ 1, run.token, run.used, run.attempts, run.lease, failure }) do
        stretches[#stretches + 1] = term
      end
    end
  end

  for _, set in ipairs(sets) do
    for _, entry in ipairs(redis.call('ZRANGEBYSCORE', P .. 'leased:' .. set[1], set[2], set[2])) do
      local found, share = ids_of_entry(set[1], entry)
      for i, text in ipairs(hash_values('run', found)) do
        add(found[i], share, text)
      end
    end
  end
  return { ids, records, stretches }
end

-- Forgets an answer that has arrived. The number of the call stays, for longer than one may be on its way.
local function drop_answer(caller, sequence, has_copies)
  redis.call('SET', P .. 'answer:' .. caller, string.format('%015d0', sequence), 'PX', 600000)
  if has_copies then
    redis.call('UNLINK', P .. 'copies:' .. caller)
  end
end

-- Keeps an answer: `copied` has the parts of the copies, their stretches, and the sets of what was leased.
local function keep_answer(caller, sequence, keep_ms, had_copies, copied)
  local answer = string.format('%015d%d', sequence, #copied.parts > 0 and 1 or 0)
  if #copied.stretches > 0 or next(copied.leased) then
    local sets, tokens, noted = {}, {}, {}
    for _, set in pairs(copied.leased) do
      -- Several shares may end together.
      local time = int(set.deadline)
      local place = set.spec.tail .. ' ' .. time
      if not noted[place] then
        noted[place] = true
        sets[#sets + 1] = { set.spec.tail, time }
      end
      tokens[set.token] = true
    end
    answer = answer .. cmsgpack.pack({ copied.stretches, sets, tokens })
  end
  if had_copies then
    redis.call('UNLINK', P .. 'copies:' .. caller)
  end
  if #copied.parts > 0 then
    -- A list, which costs less than one string made here.
    call_many('RPUSH', P .. 'copies:' .. caller, copied.parts)
    redis.call('PEXPIRE', P .. 'copies:' .. caller, keep_ms)
  end
  redis.call('SET', P .. 'answer:' .. caller, answer, 'PX', keep_ms)
end
