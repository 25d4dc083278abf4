-- Lets a request with a token pass, or tells why not.
--
-- KEYS  1 stands there if the token was revoked, 2 when all its requests are allowed again,
--       3 stands there while the API is paused
-- ARGV  1 requests that are allowed in a minute, 0 for no limit
--
-- Returns {what, seconds}: 'admitted'; 'revoked'; 'limited', and how long to wait; {'paused',
-- seconds, what stands in KEYS[3]}.
--
-- Every request takes its share of the minute, and time gives it back. So KEYS[2] holds the moment
-- when nothing is taken any more. A Redis that is full or cannot write refuses to note it; that is
-- no reason to refuse the request.
local PERIOD = 60
-- Rounding takes no request away.
local PRECISION = 0.001
local allowed = tonumber(ARGV[1])
if redis.call('EXISTS', KEYS[1]) == 1 then
  return {'revoked', 0}
end
local paused_ms = redis.call('PTTL', KEYS[3])
if paused_ms > 0 then
  return {'paused', math.ceil(paused_ms / 1000), redis.call('GET', KEYS[3])}
end
if allowed == 0 then
  return {'admitted', 0}
end
local time, share = now(), PERIOD / allowed
-- Not beyond a whole minute: the clock may have been set back.
local whole_at = math.min(tonumber(redis.call('GET', KEYS[2]) or 0), time + PERIOD)
whole_at = math.max(whole_at, time) + share
local wait = whole_at - PERIOD - time
if wait > PRECISION then
  return {'limited', math.ceil(wait - PRECISION)}
end
local keep = math.ceil((whole_at - time) * 1000)
redis.pcall('SET', KEYS[2], string.format('%.6f', whole_at), 'PX', keep)
return {'admitted', 0}
