-- Makes effects of a run visible, if the run is still the token's: all of them, and marks the run
-- done; or those of one slice, and marks the slice.
--
-- KEYS  1 the run, 2 held messages, 3 how often each of these was returned (hash)
-- ARGV  1 token, 2 name of the slice, empty for the end of the run, then the commands: number of
--       words, words
--
-- Returns 'committed'; 'before' if this token has committed the same already (its answer was lost),
-- or anybody the slice; 'stale' if the run is another's by now, or done by another. A command that
-- Redis refuses for lack of memory is refused before anything is written.
local run, held, counts = KEYS[1], KEYS[2], KEYS[3]
local token, slice = ARGV[1], ARGV[2]
local slice_field = 'slice:' .. slice
local state = redis.call('HMGET', run, 'holder', 'done', 'done_by', slice_field)
local holder, done, done_by, slice_done = state[1], state[2], state[3], state[4]

-- A full Redis does not take the count where nothing else was written: that is no reason to fail. One
-- that refuses to write for another reason may not be the primary any more, and what it knows may be
-- old: it must not say that the run is another's.
local function counted(outcome)
  local answer = redis.pcall('HINCRBY', counts, outcome, 1)
  if type(answer) == 'table' and not string.find(answer.err, 'OOM', 1, true) then
    return answer
  end
  return outcome
end

-- What was committed before is written once more: WAIT is about what its own connection wrote, and a
-- replica that confirms this has all that came before it. Taking it out first needs no memory, so
-- that putting it in may.
local function before(field, value)
  redis.call('HDEL', run, field)
  redis.call('HSET', run, field, value)
  return counted('before')
end

if done and done_by == token then
  return before('done_by', token)
end
if done then
  return counted('stale')
end
if holder ~= token or redis.call('HEXISTS', held, token) == 0 then
  return counted('stale')
end
if slice_done then
  return before(slice_field, slice_done)
end
local i = 3
while i <= #ARGV do
  local words = tonumber(ARGV[i])
  redis.call(unpack(ARGV, i + 1, i + words))
  i = i + words + 1
end
local time = string.format('%.3f', now())
if slice == '' then
  redis.call('HSET', run, 'done', time .. ' committed', 'done_by', token)
else
  redis.call('HSET', run, slice_field, time)
end
return counted('committed')
