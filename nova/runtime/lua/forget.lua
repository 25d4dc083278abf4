-- Removes entries of agent memory that nobody has used for long, oldest first.
--
-- KEYS  1 index (sorted set: <namespace>:<key> -> time of the last access),
--       2 key prefix of the namespaces' hashes
-- ARGV  1 seconds without access, 2 entries wanted, at most 1000
--
-- Returns the number of entries removed, and the bytes of their keys and values.
local index, prefix = KEYS[1], KEYS[2]
local before = now() - tonumber(ARGV[1])

local unused = redis.call('ZRANGE', index, '-inf', '(' .. string.format('%.6f', before), 'BYSCORE',
  'LIMIT', 0, tonumber(ARGV[2]))
local bytes, keys_of = 0, {}
for _, member in ipairs(unused) do
  local colon = string.find(member, ':', 1, true)
  local values, key = prefix .. string.sub(member, 1, colon - 1), string.sub(member, colon + 1)
  bytes = bytes + #key + redis.call('HSTRLEN', values, key)
  keys_of[values] = keys_of[values] or {}
  table.insert(keys_of[values], key)
end
for values, keys in pairs(keys_of) do
  redis.call('HDEL', values, unpack(keys))
end
if #unused > 0 then
  -- The oldest are the first: what was found stands at the beginning.
  redis.call('ZREMRANGEBYRANK', index, 0, #unused - 1)
end
return {#unused, bytes}
