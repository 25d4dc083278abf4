-- Stores the state of a task, and tells who waits for it, unless it has succeeded before.
--
-- KEYS  1 result
-- ARGV  1 the state, JSON, 2 seconds to keep it
--
-- A full Redis takes it, too: the message of the task goes in exchange, and makes room.
--
-- Returns 1 if it was stored.
local key, state, expires = KEYS[1], ARGV[1], ARGV[2]
if has_succeeded(key) then
  return 0
end
-- The first write needs no memory, so that the next may.
redis.call('DEL', key)
redis.call('SETEX', key, expires, state)
redis.call('PUBLISH', key, state)
return 1
