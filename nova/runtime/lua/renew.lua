-- Renews the leases of one worker: of the messages that it holds, and of its inboxes.
--
-- KEYS  1 held messages, 2 their index, 3 inboxes (sorted set: list -> time of the last renewal)
-- ARGV  1 how many tokens follow, then the tokens, then the inboxes
--
-- Returns the tokens that are no longer held: the worker was silent for longer than its lease.
local held, index, inboxes = KEYS[1], KEYS[2], KEYS[3]
local tokens = tonumber(ARGV[1])
local time = now()

local function renew(set, member)
  -- Taking it out first needs no memory, so that putting it in may.
  redis.call('ZREM', set, member)
  redis.call('ZADD', set, time, member)
end

local lost = {}
for i = 2, #ARGV do
  if i > tokens + 1 then
    renew(inboxes, ARGV[i])
  elseif redis.call('HEXISTS', held, ARGV[i]) == 1 then
    renew(index, ARGV[i])
  else
    table.insert(lost, ARGV[i])
  end
end
return lost
