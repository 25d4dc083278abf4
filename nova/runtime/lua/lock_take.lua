-- Takes the lock of the fleet.
--
-- KEYS  1 lock (hash), 2 the last token that was given, 3 audit (stream)
-- ARGV  1 owner, 2 reason, 3 seconds until it expires, 4 seconds to remember it after that,
--       5 'take-over' to take it from whoever holds it, 6 audit entries to keep,
--       7 a token that the new one must be above, 8 an id of the run that takes it, may be empty
--
-- A run that holds it already gets it again, renewed: the answer to its first try was lost.
--
-- An expired lock stays in its key for a while: if nobody takes it meanwhile, its owner may go on.
-- Whoever lost it has a line in the audit, in one step with its taking: an operation that was
-- interrupted, or a take-over.
--
-- Returns {1, fields of the lock, fields of the one before, 1 if that was taken over}, or {0, fields of
-- the lock} of the other.
local lock, last_token, audit = KEYS[1], KEYS[2], KEYS[3]
local owner, reason, ttl, remember = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = now()
local run = ARGV[8]
local before = redis.call('HMGET', lock, 'owner', 'reason', 'expires_at', 'ttl', 'run')
if run ~= '' and before[5] == run then
  redis.call('HDEL', lock, 'expires_at') -- a full Redis lets a script write that frees first
  redis.call('HSET', lock, 'ttl', ttl, 'expires_at', string.format('%.6f', time + ttl))
  redis.call('EXPIRE', lock, ttl + remember)
  return {1, redis.call('HGETALL', lock), {}, 0}
end
local left = before[3] and tonumber(before[3]) - time or 0
-- So much time is left only after the clock was set back.
local is_held = left > 0 and left <= tonumber(before[4])
local fields_before = redis.call('HGETALL', lock)
if is_held and ARGV[5] ~= 'take-over' then
  return {0, fields_before}
end
redis.call('DEL', lock)
local token = math.max(tonumber(redis.call('GET', last_token) or 0), tonumber(ARGV[7])) + 1
redis.call('SET', last_token, token)
redis.call('HSET', lock, 'token', token, 'owner', owner, 'reason', reason, 'ttl', ttl,
  'run', run, 'acquired_at', string.format('%.6f', time),
  'expires_at', string.format('%.6f', time + ttl))
redis.call('EXPIRE', lock, ttl + remember)
if not before[1] then
  return {1, redis.call('HGETALL', lock), {}, 0}
end
local function tell(by, action, from, to, result, detail)
  redis.call('XADD', audit, 'MAXLEN', '~', ARGV[6], '*', 'by', by, 'action', action,
    'from', from, 'to', to, 'result', result, 'detail', detail)
end
if is_held then
  tell(owner, 'take over the lock', before[1], owner, 'ok',
    'it was held for: ' .. before[2] .. '; now for: ' .. reason)
else
  tell(before[1], before[2], '', '', 'interrupted', 'its lock expired, and ' .. owner .. ' took it')
end
return {1, redis.call('HGETALL', lock), fields_before, is_held and 1 or 0}
