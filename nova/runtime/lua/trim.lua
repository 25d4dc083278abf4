-- Removes members below a score from a sorted set, lowest first.
--
-- KEYS  1 the sorted set
-- ARGV  1 score, 2 members wanted, at most 1000
--
-- Returns how many were removed.
local low = redis.call('ZRANGE', KEYS[1], '-inf', '(' .. ARGV[1], 'BYSCORE', 'LIMIT', 0, ARGV[2])
if #low > 0 then
  -- The lowest are the first: what was found stands at the beginning.
  redis.call('ZREMRANGEBYRANK', KEYS[1], 0, #low - 1)
end
return #low
