-- Lets the lock of the fleet live longer, if it is still this token's.
--
-- KEYS  1 lock (hash)
-- ARGV  1 token, 2 seconds until it expires, 3 seconds to remember it after that
--
-- It may have expired: as long as nobody took it, nobody else has worked on the fleet.
--
-- Returns {1 if it is this token's, else 0, fields of the lock}.
local lock, token, ttl, remember = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if redis.call('HGET', lock, 'token') ~= token then
  return {0, redis.call('HGETALL', lock)}
end
redis.call('HDEL', lock, 'expires_at')
redis.call('HSET', lock, 'ttl', ttl, 'expires_at', string.format('%.6f', now() + ttl))
redis.call('EXPIRE', lock, ttl + remember)
return {1, redis.call('HGETALL', lock)}
