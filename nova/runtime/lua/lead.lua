-- Leads, or goes on leading, if nobody else does; tells the time and the marks.
--
-- KEYS  1 leader (string), 2 marks (hash: entry -> mark), 3 what beat did (hash)
-- ARGV  1 who asks (JSON with a token that only this process has), 2 lease in milliseconds,
--       3 who runs the schedule, by the setting of who asks
--
-- Returns {1, seconds, microseconds, marks} to the leader, {0, seconds, microseconds, {}, leader}
-- to others; for them nothing is changed.
local leader, marks, state = KEYS[1], KEYS[2], KEYS[3]
local asks, lease, mode = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local time = redis.call('TIME')
local holder = redis.call('GET', leader)
-- A lease so long is left from before the clock was set back: its end may be days away. One without
-- an end is none of ours.
local left = redis.call('PTTL', leader)
local is_stale = left == -1 or left > 3 * lease
if holder and holder ~= asks and not is_stale then
  return {0, time[1], time[2], {}, holder}
end
if holder == asks then
  redis.call('PEXPIRE', leader, lease)
else
  redis.call('DEL', leader)
  redis.call('SET', leader, asks, 'PX', lease)
end
redis.call('HSET', state, 'tick', time[1])
if redis.call('HGET', state, 'mode') ~= mode then
  redis.call('HSET', state, 'mode', mode, 'mode_since', time[1])
end
return {1, time[1], time[2], redis.call('HGETALL', marks)}
