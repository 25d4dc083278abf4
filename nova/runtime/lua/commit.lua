-- Makes the effects of a run visible and marks it done, if the run is still the token's.
--
-- KEYS  1 the run, 2 held messages
-- ARGV  1 token, 2 how it ended, then the commands: number of words, words
--
-- Returns 1; 0 when the token is not the holder (any more), or the run is done already. A command
-- that Redis refuses for lack of memory is refused before anything is written: with done unset.
local run, held = KEYS[1], KEYS[2]
local token = ARGV[1]
local state = redis.call('HMGET', run, 'holder', 'done')
if state[1] ~= token or state[2] or redis.call('HEXISTS', held, token) == 0 then
  return 0
end
local i = 3
while i <= #ARGV do
  local words = tonumber(ARGV[i])
  redis.call(unpack(ARGV, i + 1, i + words))
  i = i + words + 1
end
redis.call('HSET', run, 'done', string.format('%.3f %s', now(), ARGV[2]))
return 1
