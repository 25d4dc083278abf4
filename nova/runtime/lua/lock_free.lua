-- Frees the lock of the fleet, if it is this token's.
--
-- KEYS  1 lock (hash)
-- ARGV  1 token
--
-- Returns {1 if it was freed now, else 0, fields of the lock of another token}.
local found = redis.call('HGET', KEYS[1], 'token')
if found and found ~= ARGV[1] then
  return {0, redis.call('HGETALL', KEYS[1])}
end
return {redis.call('DEL', KEYS[1]), {}}
