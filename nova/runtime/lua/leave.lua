-- Empties inboxes, each back into its queue.
--
-- ARGV  the inbox lists
--
-- They stay known: a blocking move may be under way on a connection that is lost. The sweep forgets
-- them. Returns how many messages went back.
local moved = 0
for i = 1, #ARGV do
  moved = moved + empty_inbox(ARGV[i])
end
return moved
