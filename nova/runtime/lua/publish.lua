-- Leaves the note of a run and pushes its message.
--
-- KEYS  1 run, 2 queue, 3 tasks that were published last (sorted set: task id -> time)
-- ARGV  1 the message, 2 id of this publication, 3 task name, 4 queue, 5 time of the publication,
--       ISO 8601, 6 seconds to keep the note of a run that was never claimed, 7 task id,
--       8 tasks to keep in KEYS[3], 9 what was asked for, if it is to be published only once under
--       this task id; else empty
--
-- A publisher that got no answer asks again with the same id of the publication, and the message is
-- pushed once. Another publication of the same task id pushes again: the first message may be lost.
-- With ARGV[9] only the first publication ever pushes, as long as the run is remembered.
--
-- Returns 1 if the message was pushed now, 0 if it had been, -1 if something else was asked for
-- under this task id before.
local run, queue, recent = KEYS[1], KEYS[2], KEYS[3]
local asked = ARGV[9]
local before = redis.call('HMGET', run, 'publication', 'asked')
local publication, asked_before = before[1], before[2]

if asked ~= '' and asked_before and asked_before ~= asked then
  return -1
end
if publication == ARGV[2] or (asked ~= '' and asked_before) then
  -- Changes nothing. What replicas confirm is the last write of a connection, and all before it.
  redis.call('HSET', run, 'publication', publication)
  return 0
end
local time = string.format('%.6f', now())
-- What a running or finished task left there stays, with the time for which it stays.
if redis.call('EXISTS', run) == 0 then
  redis.call('HSET', run, 'name', ARGV[3], 'queue', ARGV[4], 'published_at', ARGV[5])
  redis.call('EXPIRE', run, ARGV[6])
end
redis.call('LPUSH', queue, ARGV[1])
redis.call('HSET', run, 'publication', ARGV[2], 'queued_at', time)
if asked ~= '' then
  redis.call('HSET', run, 'asked', asked)
end
note_recent(recent, ARGV[7], time, tonumber(ARGV[8]))
return 1
