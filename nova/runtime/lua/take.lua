-- Takes one slot for a loop of the API: marks it and notes that its run begins, if the caller leads
-- and the mark is the one that it looked at.
--
-- KEYS  1 leader, 2 marks, 3 what the scheduler did, 4 the run (hash)
-- ARGV  1 who asks, 2 lease in milliseconds, 3 entry, 4 the mark that was looked at, empty for none,
--       5 the new mark, 6 slots that are passed over with it, 7 seconds to keep the run,
--       8... what to note of the run: name, value
--
-- Returns what fire.lua returns, for the same reasons; the two share the marks.
local leader, marks, state, run = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local asks, lease, entry, looked_at, new = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local missed, expires = tonumber(ARGV[6]), ARGV[7]
local TIME_LENGTH = #'2026-01-01T00:00:00.000000Z'
if redis.call('GET', leader) ~= asks then
  return 'not leader'
end
local mark = redis.call('HGET', marks, entry) or ''
local slot, new_slot = string.sub(mark, 1, TIME_LENGTH), string.sub(new, 1, TIME_LENGTH)
if mark ~= looked_at or slot >= new_slot then
  return 'moved'
end
local time = string.format('%.6f', now())
redis.call('HSET', run, 'began', time, unpack(ARGV, 8))
redis.call('EXPIRE', run, expires)
redis.call('HSET', state, 'fired:' .. entry, new_slot .. ' ' .. time)
if missed > 0 then
  redis.call('HINCRBY', state, 'missed:' .. entry, missed)
end
redis.call('HSET', marks, entry, new)
redis.call('PEXPIRE', leader, lease)
return 'fired'
