-- Takes messages out of queues, and records in the same step who holds them.
--
-- KEYS  1 held messages (hash: token -> message), 2 their index (sorted set: token -> time of the
--       last renewal), 3 queues that have dead letters (set), 4 dead tasks whose failure nobody
--       has told yet (hash: task id -> letter and reason), 5... lists to take from, best first
-- ARGV  1 token prefix, 2 number of this call, 3 messages wanted, 4 lease in seconds,
--       5 starts allowed, 6 seconds until a deferred copy is looked at again,
--       7 key prefix of runs, 8 key prefix of dead-letter lists, 9 name of the worker,
--       10 seconds to keep a dead run, 11... the queue of each list
--
-- Returns a list of {kind, id, task name, queue, ...}:
--   message   token, text, starts, seconds since it was published (empty if nobody noted when):
--             held from now on under the token
--   done      the run is done, the copy is dropped
--   deferred  holder: another claim runs this task, the copy comes back later
--   dead      reason and letter: moved to the dead letters
local held, index, dead_queues, untold = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local token_prefix, wanted = ARGV[1] .. ARGV[2] .. '.', tonumber(ARGV[3])
local lease, starts_allowed, defer = tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local run_prefix, dead_prefix, worker = ARGV[7], ARGV[8], ARGV[9]
local dead_expires = tonumber(ARGV[10])
local FIRST_LIST, FIRST_QUEUE = 5, 11
-- Copies that one call puts aside at most: Redis serves nobody else meanwhile. `TOKENS_PER_CALL` in
-- claims.py counts on it.
local ASIDE_LIMIT = 100

local time = now()
local answers = {}
local claimed, aside = 0, 0

local function hold(raw, queue, score)
  local token = token_prefix .. (claimed + aside)
  redis.call('HSET', held, token, pack_held(raw, queue))
  redis.call('ZADD', index, score, token)
  return token
end

-- What a letter is called: short enough to be typed, and never the same twice.
local function new_letter_id()
  return string.sub(redis.sha1hex(token_prefix .. (claimed + aside)), 1, 12)
end

local function bury(raw, queue, task_id, name, reason, history, starts)
  local letter = {
    id = new_letter_id(), task_id = task_id, task = name, queue = queue, reason = reason,
    at = time, starts = starts, history = history, message = raw,
  }
  redis.call('LPUSH', dead_prefix .. queue, cjson.encode(letter))
  redis.call('SADD', dead_queues, queue)
  if task_id ~= '' then
    redis.call('HSET', untold, task_id, letter.id .. ' ' .. reason)
  end
  local detail = reason .. '; see: nova deadletter show ' .. letter.id
  table.insert(answers, {'dead', task_id, name, queue, detail})
  aside = aside + 1
end

-- All reading comes before the message leaves its list: a script that fails then loses nothing.
local function claim(list, raw, queue)
  local message = identify(raw)
  if not message then
    redis.call('RPOP', list)
    return bury(raw, queue, '', '', 'not a message', '', 0)
  end
  local id, name, run = message.id, message.name, run_prefix .. message.id
  local state = redis.call('HMGET', run, 'done', 'holder', 'starts', 'history', 'queued_at')
  local done, holder, starts, history = state[1], state[2], tonumber(state[3] or 0), state[4]
  local is_held = holder and redis.call('HEXISTS', held, holder) == 1
  redis.call('RPOP', list)
  if done then
    table.insert(answers, {'done', id, name, queue})
    aside = aside + 1
  elseif is_held then
    hold(raw, queue, time - lease + defer)
    table.insert(answers, {'deferred', id, name, queue, holder})
    aside = aside + 1
  elseif starts >= starts_allowed then
    redis.call('EXPIRE', run, dead_expires)
    local reason = string.format('started %d times and never finished', starts)
    bury(raw, queue, id, name, reason, history or '', starts)
  else
    local token = hold(raw, queue, time)
    redis.call('HSET', run, 'holder', token)
    redis.call('PERSIST', run)
    if not message.eta then
      count_start(run, worker, time)
      starts = starts + 1
    end
    local waited = state[5] and string.format('%.6f', time - tonumber(state[5])) or ''
    table.insert(answers, {'message', id, name, queue, token, raw, starts, waited})
    claimed = claimed + 1
  end
end

-- One message from each list in turn, so that a busy queue does not starve the others.
local found = true
while found and claimed < wanted and aside < ASIDE_LIMIT do
  found = false
  for i = FIRST_LIST, #KEYS do
    if claimed < wanted and aside < ASIDE_LIMIT then
      local raw = redis.call('LINDEX', KEYS[i], -1)
      if raw then
        found = true
        claim(KEYS[i], raw, ARGV[FIRST_QUEUE + i - FIRST_LIST])
      end
    end
  end
end
return answers
