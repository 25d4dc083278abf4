-- Takes a dead letter out, and replays or drops its message.
--
-- KEYS  1 dead letters of the queue, 2 queues that have dead letters, 3 held messages,
--       4 dead tasks whose failure nobody has told yet, 5 the queue, 6 the run, 7 its result
-- ARGV  1 'replay' or 'drop', 2 the letter as it stands in the list, 3 seconds to keep a finished
--       run, 4 seconds to keep an unfinished one, 5 time of the publication, ISO 8601
--
--   replay    the message goes back to its queue unchanged, its run starts with a clean count
--   drop      the message is gone, its run is done: no copy of it runs again
--
-- Copies of a task may be dead letters, too. A run that another copy has brought back to life, or
-- to its end, stays as it is.
--
-- Returns 1; 0 if the letter is not there any more, and then nothing has changed.
local letters, dead_queues, held, untold = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local queue, run, result = KEYS[5], KEYS[6], KEYS[7]
local action, text, done_expires, run_expires = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local published_at = ARGV[5]

local letter = cjson.decode(text)
local state = redis.call('HMGET', run, 'done', 'holder', 'starts')
local done, holder, starts = state[1], state[2], tonumber(state[3] or 0)
local was_dropped = done and string.match(done, ' dropped$')
local is_held = holder and redis.call('HEXISTS', held, holder) == 1
local is_over = done and not was_dropped

if redis.call('LREM', letters, -1, text) == 0 then
  return 0
end
if redis.call('EXISTS', letters) == 0 then
  redis.call('SREM', dead_queues, letter.queue)
end

local function start_anew()
  redis.call('HDEL', run, 'done', 'holder', 'starts', 'history')
  redis.call('DEL', result)
  redis.call('HDEL', untold, letter.task_id)
  -- What the publisher noted may have expired.
  redis.call('HSETNX', run, 'name', letter.task)
  redis.call('HSETNX', run, 'queue', letter.queue)
  redis.call('HSETNX', run, 'published_at', published_at)
  redis.call('HSET', run, 'queued_at', string.format('%.6f', now()))
  redis.call('EXPIRE', run, run_expires)
end

if action == 'replay' then
  if is_over or is_held then
    -- For as long as the message may wait.
    keep_run(run, redis.call('TTL', run), run_expires)
  else
    start_anew()
  end
  redis.call('LPUSH', queue, letter.message)
elseif letter.task_id ~= '' and not (done or is_held) and starts >= letter.starts then
  redis.call('HDEL', run, 'holder', 'starts', 'history')
  redis.call('HSET', run, 'done', string.format('%.3f dropped', now()))
  redis.call('EXPIRE', run, done_expires)
end
return 1
