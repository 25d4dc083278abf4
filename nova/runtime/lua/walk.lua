-- One step of the walk through all keys: counts them and their bytes by kind, and removes what is
-- nobody's any more.
--
-- ARGV  1 cursor, '0' to begin, 2 keys wanted, 3 seconds: what nobody used for so long is old,
--       4 Unix time: a report made before it is past its retention, 5 'remove', or 'look' to remove
--       nothing, then three words for each kind, whose keys have its prefix and none of those
--       before it: prefix, rule, index of the rule
-- Rules keep     nothing is removed
--       leftover a key that would never expire and is old
--       report   a key of a report that is past its retention by the index (sorted set: report ->
--                time), or that is old and of a report which the index does not have
--
-- What is asked here counts as no use. Where Redis does not tell when a key was used (with a policy
-- of the kind lfu), nothing is old.
--
-- Returns the next cursor, '0' at the end, and for each kind: keys, their bytes, keys removed,
-- their bytes.
local cursor, wanted, old_seconds, reports_before = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local removes = ARGV[5] == 'remove'
local FIRST, WORDS = 6, 3

local function is_old(key)
  local idle = redis.pcall('OBJECT', 'IDLETIME', key)
  return type(idle) == 'number' and idle >= old_seconds
end

-- A report's own key ends with its id, those of its parts have a word more.
local function made_at(index, rest)
  local time = redis.call('ZSCORE', index, rest)
    or redis.call('ZSCORE', index, (string.gsub(rest, ':[^:]*$', '')))
  return time and tonumber(time)
end

local rules = {}
function rules.keep()
  return false
end
function rules.leftover(key)
  return redis.call('PTTL', key) == -1 and is_old(key)
end
function rules.report(key, rest, index)
  local time = made_at(index, rest)
  if time then
    return time < reports_before
  end
  return is_old(key)
end

local answer = {}
for i = FIRST, #ARGV, WORDS do
  table.insert(answer, {0, 0, 0, 0})
end

local function visit(key)
  for number = 1, #answer do
    local at = FIRST + (number - 1) * WORDS
    local prefix = ARGV[at]
    if string.sub(key, 1, #prefix) == prefix then
      local tally, bytes = answer[number], redis.call('MEMORY', 'USAGE', key) or 0
      tally[1], tally[2] = tally[1] + 1, tally[2] + bytes
      if rules[ARGV[at + 1]](key, string.sub(key, #prefix + 1), ARGV[at + 2]) then
        tally[3], tally[4] = tally[3] + 1, tally[4] + bytes
        if removes then
          redis.call('UNLINK', key)
        end
      end
      return
    end
  end
end

local page = redis.call('SCAN', cursor, 'COUNT', wanted)
for _, key in ipairs(page[2]) do
  visit(key)
end
return {page[1], answer}
