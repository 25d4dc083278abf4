-- Puts back what claims have taken whose answer never came: nobody runs it, so it is no start.
--
-- KEYS  1 held messages, 2 their index
-- ARGV  1 token prefix, 2 most tokens that one call makes, 3 key prefix of runs, 4 seconds to keep an
--       unfinished run, 5... numbers of the calls
--
-- A deferred copy stays, for it comes back by itself. A call that reaches Redis only after this one is
-- found by the sweep, and its starts count.
--
-- Returns how many messages were put back.
local held, index = KEYS[1], KEYS[2]
local token_prefix, most, run_prefix, run_expires = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]

local function put_back(token)
  local value = redis.call('HGET', held, token)
  if not value then
    return 0
  end
  local raw, queue = unpack_held(value)
  local message = identify(raw)
  local run = run_prefix .. message.id
  if redis.call('HGET', run, 'holder') ~= token then
    return 0
  end
  redis.call('HDEL', held, token)
  redis.call('ZREM', index, token)
  redis.call('RPUSH', queue, raw)
  redis.call('HDEL', run, 'holder')
  redis.call('EXPIRE', run, run_expires)
  if not message.eta then
    uncount_start(run)
  end
  return 1
end

local returned = 0
for i = 5, #ARGV do
  -- The first was the oldest, and goes back last: to the very head of its queue.
  for number = most - 1, 0, -1 do
    returned = returned + put_back(token_prefix .. ARGV[i] .. '.' .. number)
  end
end
return returned
