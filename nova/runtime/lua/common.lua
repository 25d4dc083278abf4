-- What several scripts use. Stands in front of each of them.
--
-- A script must also run while Redis is at its memory limit, or a full Redis could never be
-- drained: Redis lets everything pass once a script has made a write that needs no memory. So the
-- first write of each script is one that takes something away (RPOP, HDEL, ZREM, DEL).

-- Seconds since 1970 by the clock of Redis; the clocks of the hosts do not matter.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end
