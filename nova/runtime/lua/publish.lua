-- Leaves the note of a run and pushes its message.
--
-- KEYS  1 run, 2 queue, 3 tasks that were published last (stream)
-- ARGV  1 the message, 2 id of this publication, 3 task name, 4 queue, 5 time of the publication,
--       ISO 8601, 6 seconds to keep the run while its message waits, 7 task id, 8 tasks to keep in
--       KEYS[3], 9 what was asked for, if that is to be published once only; else empty
--
-- A publisher that got no answer asks again with the same id of the publication, and the message is
-- pushed once. Another publication of the same task id pushes again: the first message may be lost.
-- What was asked for with ARGV[9] is pushed once, however often it is asked for.
--
-- Returns 1 if the message was pushed now, 0 if it had been; -1 if something else was asked for
-- under this task id before, and nothing was pushed.
local run, list, recent = KEYS[1], KEYS[2], KEYS[3]
local raw, publication, name, queue, published_at, run_expires, id, keep, asked = unpack(ARGV)
local last, asked_before = unpack(redis.call('HMGET', run, 'publication', 'asked'))
if asked ~= '' and asked_before and asked_before ~= asked then
  return -1
end
if last == publication or (asked ~= '' and asked_before) then
  -- Changes nothing, but counts as a write: replicas confirm all that came before it.
  redis.call('HSET', run, 'publication', last)
  return 0
end
if push_with_note(run, list, raw, name, queue, published_at, run_expires) then
  note_recent(recent, id, keep)
end
redis.call('HSET', run, 'publication', publication)
if asked ~= '' then
  redis.call('HSET', run, 'asked', asked)
end
return 1
