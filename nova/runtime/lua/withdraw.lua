-- Takes a message back that nobody has claimed.
--
-- KEYS  1 the run, 2... the lists in which the message may lie: its queue, and inboxes
-- ARGV  1 the message
--
-- Returns how many copies were taken back. Without any the run stays: somebody has claimed it.
local removed = 0
for i = 2, #KEYS do
  removed = removed + redis.call('LREM', KEYS[i], 0, ARGV[1])
end
if removed > 0 then
  redis.call('DEL', KEYS[1])
end
return removed
