-- Empties inboxes, each back into its queue, of a worker none of whose blocking moves is under way.
--
-- KEYS  1 inboxes (sorted set)
-- ARGV  'forget' when the worker stops, else 'keep', then the inbox lists
--
-- Returns how many messages went back.
local inboxes = KEYS[1]
local moved = 0
for i = 2, #ARGV do
  moved = moved + empty_inbox(ARGV[i])
  if ARGV[1] == 'forget' then
    redis.call('ZREM', inboxes, ARGV[i])
  end
end
return moved
