-- Publishes one slot and marks it, if the caller leads and the mark is the one that it looked at.
--
-- KEYS  1 leader, 2 marks, and with a message: 3 its run, 4 the list to publish to
-- ARGV  1 who asks, 2 lease in milliseconds, 3 entry, 4 the mark that was looked at, empty for none,
--       5 the new mark, and with a message: 6 message, 7 task name, 8 queue, 9 published at,
--       10 seconds to keep the run
--
-- Returns 'fired'; 'not leader'; 'moved' when the mark is another one by now, which is so when the
-- slot was published before: a mark begins with its slot's time and only ever grows.
--
-- At the memory limit the first write is refused, and nothing has been written: publishing waits
-- until Redis has room again, unlike what takes messages out.
local leader, marks, run, list = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local asks, lease, entry, looked_at, new = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
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
  if redis.call('EXISTS', run) == 0 then
    redis.call('HSET', run, 'name', ARGV[7], 'queue', ARGV[8], 'published_at', ARGV[9])
    redis.call('EXPIRE', run, ARGV[10])
  end
  redis.call('LPUSH', list, ARGV[6])
end
redis.call('HSET', marks, entry, new)
redis.call('PEXPIRE', leader, lease)
return 'fired'
