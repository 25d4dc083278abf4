-- Puts back into their queues the messages whose holder has been silent for longer than the lease.
--
-- KEYS  1 held messages, 2 their index, 3 inboxes, 4 state of the sweep (hash)
-- ARGV  1 lease in seconds, 2 longest usual gap between two calls of this script by anybody,
--       3 least time between two sweeps, 4 prefix of Nova's tokens, 5 key prefix of runs,
--       6 seconds to keep an unfinished run
--
-- After a longer gap nobody was able to renew, or the clock was set: then nobody sweeps for one
-- lease, in which every holder that lives renews.
--
-- Returns a list of {task id, task name, queue, token} of what was put back. How many that were so
-- far stands in the state of the sweep, under 'redelivered:<queue>'.
local held, index, inboxes, sweep = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local lease, usual_gap, interval = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local token_prefix, run_prefix, run_expires = ARGV[4], ARGV[5], ARGV[6]
-- What one call puts back: Redis serves nobody else meanwhile.
local LIMIT = 1000
-- An inbox stays known for so long after its worker's last sign: a blocking move that was on its
-- way through a broken network may still arrive.
local INBOX_FORGET_SECONDS = 86400

local time = now()
local state = redis.call('HMGET', sweep, 'seen', 'swept', 'not_before')
local seen, swept = tonumber(state[1] or 0), tonumber(state[2] or 0)
local not_before = tonumber(state[3] or 0)
redis.call('HDEL', sweep, 'seen')
redis.call('HSET', sweep, 'seen', time)
if time < seen or time - seen > usual_gap then
  redis.call('HSET', sweep, 'not_before', time + lease)
  -- A clock that was set back has left times that lie ahead. They count from now.
  for _, set in ipairs({index, inboxes}) do
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', set, '(' .. time, '+inf')) do
      redis.call('ZADD', set, time, member)
    end
  end
  return {}
end
if time < not_before or math.abs(time - swept) < interval then
  return {}
end
redis.call('HSET', sweep, 'swept', time)

local answers = {}

local function put_back(token)
  local value = redis.call('HGET', held, token)
  redis.call('ZREM', index, token)
  redis.call('HDEL', held, token)
  if not value then
    return
  end
  local raw, queue = unpack_held(value)
  redis.call('RPUSH', queue, raw)
  local message = identify(raw)
  local run = run_prefix .. message.id
  if redis.call('HGET', run, 'holder') == token then
    redis.call('HDEL', run, 'holder')
    redis.call('EXPIRE', run, run_expires)
    redis.call('HINCRBY', sweep, 'redelivered:' .. queue, 1)
    table.insert(answers, {message.id, message.name, queue, token})
  end
end

-- What is put back leaves the index. What stays is a stock worker's, which keeps stock's hour: the
-- next page begins behind it.
local stays, swept_now = 0, 0
while swept_now < LIMIT do
  local page = redis.call('ZRANGEBYSCORE', index, '-inf', time - lease, 'LIMIT', stays, LIMIT)
  if #page == 0 then
    break
  end
  for _, token in ipairs(page) do
    if string.sub(token, 1, #token_prefix) == token_prefix then
      put_back(token)
      swept_now = swept_now + 1
    else
      stays = stays + 1
    end
  end
end

for _, inbox in ipairs(redis.call('ZRANGEBYSCORE', inboxes, '-inf', time - lease)) do
  empty_inbox(inbox)
  if tonumber(redis.call('ZSCORE', inboxes, inbox)) < time - INBOX_FORGET_SECONDS then
    redis.call('ZREM', inboxes, inbox)
  end
end
return answers
