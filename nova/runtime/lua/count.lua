-- Adds what a worker has counted to the totals, once.
--
-- KEYS  1 totals of the fleet (hash), 2 totals of the worker (hash), 3 the workers that count
--       (sorted set: worker -> when it counted last), 4 number of the process's last batch
-- ARGV  1 number of this batch, 2 worker, 3 seconds to keep the totals of a worker that is gone,
--       4 seconds to remember the number, 5 fields of the fleet beyond which no new exception is
--       counted by its name, 6 most workers to keep totals of, 7 prefix of their keys,
--       8 how many counts of the fleet follow, then field and amount of each; those of the worker
--
-- A process sends a batch again until it has an answer, and the next one after that: what is not
-- after the last number has been added. A full Redis refuses it before anything is written.
--
-- Returns 1; 0 if the batch had been added before.
local fleet, own, workers, last = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local number, worker = tonumber(ARGV[1]), ARGV[2]
local keep, remember = tonumber(ARGV[3]), ARGV[4]
local most_fields, most_workers, prefix = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local FIRST = 9
local first_of_worker = FIRST + 2 * tonumber(ARGV[8])

if number <= tonumber(redis.call('GET', last) or 0) then
  return 0
end
redis.call('SET', last, number, 'EX', remember)

-- The names of exceptions are the only label that tasks can invent without an end.
local function bounded(field)
  if string.sub(field, 1, 7) == 'failed|' and redis.call('HEXISTS', fleet, field) == 0
    and redis.call('HLEN', fleet) >= most_fields then
    return (string.gsub(field, '[^|]+$', 'other'))
  end
  return field
end

for i = FIRST, first_of_worker - 1, 2 do
  redis.call('HINCRBY', fleet, bounded(ARGV[i]), ARGV[i + 1])
end
for i = first_of_worker, #ARGV, 2 do
  redis.call('HINCRBY', own, ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', own, keep)

local time = now()
redis.call('ZADD', workers, time, worker)
redis.call('ZREMRANGEBYSCORE', workers, '-inf', time - keep)
for _, oldest in ipairs(redis.call('ZRANGE', workers, 0, -most_workers - 1)) do
  redis.call('ZREM', workers, oldest)
  redis.call('DEL', prefix .. oldest)
end
return 1
