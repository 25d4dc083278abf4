-- Notes what is thought of a release, with a line in the audit.
--
-- KEYS  1 releases (hash: id -> JSON), 2 audit (stream)
-- ARGV  1 id, 2 good, voided or unknown, 3 who says so, 4 why, 5 audit entries to keep
--
-- A voided one stays so until it is unknown again: it cannot become good meanwhile, and the first
-- reason stays.
--
-- Returns {1 if it is so now, 0 if it is voided and was to be good; what stands there, if anything;
-- 1 if it was changed now}.
local releases, audit = KEYS[1], KEYS[2]
local id, state, by, reason = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local before = redis.call('HGET', releases, id)
local state_before = before and cjson.decode(before).state or 'unknown'
if state_before == 'voided' and state ~= 'unknown' then
  return {state == 'voided' and 1 or 0, before, 0}
end
if state == 'unknown' and state_before ~= 'voided' then
  return {1, before, 0}
end
redis.call('HDEL', releases, id)
local after = false
if state ~= 'unknown' then
  after = cjson.encode({state = state, by = by, reason = reason, since = string.format('%.6f', now())})
  redis.call('HSET', releases, id, after)
end
local actions = {good = 'call the release good', voided = 'void the release', unknown = 'unvoid the release'}
redis.call('XADD', audit, 'MAXLEN', '~', ARGV[5], '*', 'by', by, 'action', actions[state],
  'from', '', 'to', id, 'result', 'ok', 'detail', reason)
return {1, after, 1}
