-- Stores the failure of a task that is among the dead letters, and tells who waits for it.
--
-- KEYS  1 dead tasks whose failure nobody has told yet, 2 the result, also the name of its channel
-- ARGV  1 task id, 2 what stands there about it, 3 the result, 4 seconds to keep it
--
-- A task that has stored its success, and died before it could be acknowledged, has not failed.
--
-- Returns 1; 0 if there is nothing to tell: another was faster, or the letter has been replayed
-- meanwhile, or the task has succeeded.
local untold, result = KEYS[1], KEYS[2]
local task_id, looked_at, value, expires = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', untold, task_id) ~= looked_at then
  return 0
end
redis.call('HDEL', untold, task_id)
if has_succeeded(result) then
  return 0
end
redis.call('SETEX', result, expires, value)
redis.call('PUBLISH', result, value)
return 1
