-- Gives up the lead, so that another beat need not wait for the end of the lease.
--
-- KEYS  1 leader
-- ARGV  1 who asks
--
-- Returns 1 if it led, else 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
