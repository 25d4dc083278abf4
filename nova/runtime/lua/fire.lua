-- Publishes one slot and marks it, if the caller leads and the mark is the one that it looked at.
--
-- KEYS  1 leader, 2 marks, 3 what beat did, and with a message: 4 its run, 5 the list to publish to,
--       6 tasks that were published last (stream)
-- ARGV  1 who asks, 2 lease in milliseconds, 3 entry, 4 the mark that was looked at, empty for none,
--       5 the new mark, 6 slots that are passed over with it, and with a message: 7 message,
--       8 task name, 9 queue, 10 published at, 11 seconds to keep the run while its message waits,
--       12 task id, 13 tasks to keep in KEYS[6]
--
-- Returns 'fired'; 'not leader'; 'moved' when the mark is another one by now, which is so when the
-- slot was published before: a mark begins with its slot's time and only ever grows.
--
-- At the memory limit the first write is refused, and nothing has been written: publishing waits
-- until Redis has room again, unlike what takes messages out.
local leader, marks, state, run, list = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local asks, lease, entry, looked_at, new = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local missed = tonumber(ARGV[6])
local TIME_LENGTH = #'2026-01-01T00:00:00.000000Z'
if redis.call('GET', leader) ~= asks then
  return 'not leader'
end
local mark = redis.call('HGET', marks, entry) or ''
local slot, new_slot = string.sub(mark, 1, TIME_LENGTH), string.sub(new, 1, TIME_LENGTH)
if mark ~= looked_at or slot > new_slot or (list and slot == new_slot) then
  return 'moved'
end
if list then
  -- The mark last: if a key holds something else, the script ends before.
  local raw, name, queue, published_at, run_expires = unpack(ARGV, 7)
  if push_with_note(run, list, raw, name, queue, published_at, run_expires) then
    note_recent(KEYS[6], ARGV[12], ARGV[13])
  end
  redis.call('HSET', state, 'fired:' .. entry, string.format('%s %.6f', new_slot, now()))
end
if missed > 0 then
  redis.call('HINCRBY', state, 'missed:' .. entry, missed)
end
redis.call('HSET', marks, entry, new)
redis.call('PEXPIRE', leader, lease)
return 'fired'
