-- Ends claims, each if its token still holds the message.
--
-- KEYS  1 held messages, 2 their index
-- ARGV  1 key prefix of runs, 2 seconds to keep a finished run, 3 seconds to keep an unfinished
--       one, 4 lease in seconds, 5 name of the worker, then for each claim:
--       token, task id, outcome, detail
--
--   done      the run has ended, detail says how: no copy of it runs again
--   release   the message goes, the run may start again under the same id (a retry, a replacement)
--   requeue   back to the end of its queue; the start counts
--   return    back to the head of its queue; detail 'counted' takes the start back: it did not run
--   defer     back after detail seconds; the start does not count
--   postpone  back after detail seconds; the start counts
--   start     nothing ends; a task whose ETA has come is about to run
--
-- Returns 1 for each that held, 0 for each that came too late.
local held, index = KEYS[1], KEYS[2]
local run_prefix, done_expires, run_expires = ARGV[1], ARGV[2], ARGV[3]
local lease, worker = tonumber(ARGV[4]), ARGV[5]
local time = now()

local function forget(token)
  redis.call('HDEL', held, token)
  redis.call('ZREM', index, token)
end

local outcomes = {}

function outcomes.done(token, run, detail)
  forget(token)
  if redis.call('HEXISTS', run, 'done') == 0 then
    redis.call('HSET', run, 'done', string.format('%.3f %s', time, detail))
  end
  redis.call('HDEL', run, 'holder', 'starts', 'history', 'started_by')
  redis.call('EXPIRE', run, done_expires)
end

function outcomes.release(token, run)
  forget(token)
  redis.call('HDEL', run, 'holder', 'starts', 'history', 'started_by')
  redis.call('EXPIRE', run, run_expires)
end

local function put_back(token, run, push)
  local raw, queue = unpack_held(redis.call('HGET', held, token))
  forget(token)
  redis.call(push, queue, raw)
  redis.call('HDEL', run, 'holder')
  redis.call('EXPIRE', run, run_expires)
end

function outcomes.requeue(token, run)
  put_back(token, run, 'LPUSH')
end

outcomes['return'] = function(token, run, detail)
  put_back(token, run, 'RPUSH')
  if detail == 'counted' then
    uncount_start(run)
  end
end

function outcomes.postpone(token, run, detail)
  redis.call('HDEL', run, 'holder')
  redis.call('ZADD', index, time - lease + tonumber(detail), token)
  redis.call('EXPIRE', run, run_expires)
end

function outcomes.defer(token, run, detail)
  outcomes.postpone(token, run, detail)
  uncount_start(run)
end

function outcomes.start(token, run)
  -- The answer may get lost, and the same start be told again.
  if redis.call('HGET', run, 'started_by') ~= token then
    -- The first write needs no memory, so that the next may.
    redis.call('HDEL', run, 'started_by')
    redis.call('HSET', run, 'started_by', token)
    count_start(run, worker, time)
  end
end

local answers = {}
for i = 6, #ARGV, 4 do
  local token, run = ARGV[i], run_prefix .. ARGV[i + 1]
  local holds = redis.call('HGET', run, 'holder') == token
    and redis.call('HEXISTS', held, token) == 1
  if holds then
    outcomes[ARGV[i + 2]](token, run, ARGV[i + 3])
  end
  table.insert(answers, holds and 1 or 0)
end
return answers
