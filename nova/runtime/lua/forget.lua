-- Removes entries of agent memory that nobody has used for long, oldest first.
--
-- KEYS  1 index (sorted set: <namespace>:<key> -> time of the last access),
--       2 key prefix of the namespaces' hashes
-- ARGV  1 seconds without access, 2 entries wanted
--
-- Returns the number of entries removed, and the bytes of their keys and values.
local index, prefix = KEYS[1], KEYS[2]
local before = now() - tonumber(ARGV[1])

local unused = redis.call('ZRANGE', index, '-inf', '(' .. string.format('%.6f', before), 'BYSCORE',
  'LIMIT', 0, tonumber(ARGV[2]))
local bytes = 0
for _, member in ipairs(unused) do
  local colon = string.find(member, ':', 1, true)
  local values, key = prefix .. string.sub(member, 1, colon - 1), string.sub(member, colon + 1)
  bytes = bytes + #key + redis.call('HSTRLEN', values, key)
  redis.call('HDEL', values, key)
  redis.call('ZREM', index, member)
end
return {#unused, bytes}
