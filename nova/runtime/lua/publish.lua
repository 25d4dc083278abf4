-- Leaves the note of a run and pushes its message.
--
-- KEYS  1 run, 2 queue
-- ARGV  1 the message, 2 id of this publication, 3 task name, 4 queue, 5 time of the publication,
--       ISO 8601, 6 seconds to keep the note of a run that was never claimed
--
-- A publisher that got no answer asks again with the same id of the publication, and the message is
-- pushed once. Another publication of the same task id pushes again: the first message may be lost.
--
-- Returns 1 if the message was pushed now, 0 if it had been.
local run, queue = KEYS[1], KEYS[2]

-- What a running or finished task left there stays, with the time for which it stays.
if redis.call('EXISTS', run) == 0 then
  redis.call('HSET', run, 'name', ARGV[3], 'queue', ARGV[4], 'published_at', ARGV[5])
  redis.call('EXPIRE', run, ARGV[6])
end
if redis.call('HGET', run, 'publication') == ARGV[2] then
  return 0
end
redis.call('LPUSH', queue, ARGV[1])
redis.call('HSET', run, 'publication', ARGV[2], 'queued_at', string.format('%.6f', now()))
return 1
