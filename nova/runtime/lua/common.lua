-- What several scripts use. Stands in front of each of them.
--
-- A script must also run while Redis is at its memory limit, or a full Redis could never be
-- drained: Redis lets everything pass once a script has made a write that needs no memory. So the
-- first write of each script is one that takes something away (RPOP, HDEL, ZREM, DEL).

-- Seconds since 1970 by the clock of Redis; the clocks of the hosts do not matter.
local function now()
  local time = redis.call('TIME')
  return tonumber(time[1]) + tonumber(time[2]) / 1000000
end

-- A held message in the form of kombu, [message, exchange, routing key]. The empty exchange routes
-- to the queue that the key names, so that a stock worker restores it to the right queue, too.
local function pack_held(raw, queue)
  return '[' .. raw .. ',"",' .. cjson.encode(queue) .. ']'
end

-- The text of the message, unchanged, and its queue; nil for a claim that a stock worker recorded.
local function unpack_held(value)
  local raw, queue = string.match(value, '^%[(.*),"",(".*")%]$')
  if raw then
    return raw, cjson.decode('[' .. queue .. ']')[1]
  end
end

-- UTF-8 as Python takes it. Nearly every message is plain ASCII, and passes the first line.
local UTF8_SEQUENCES = {
  '[\194-\223][\128-\191]', '\224[\160-\191][\128-\191]',
  '[\225-\236\238\239][\128-\191][\128-\191]', '\237[\128-\159][\128-\191]',
  '\240[\144-\191][\128-\191][\128-\191]', '[\241-\243][\128-\191][\128-\191][\128-\191]',
  '\244[\128-\143][\128-\191][\128-\191]',
}
local function is_utf8(text)
  if not string.find(text, '[\128-\255]') then
    return true
  end
  for _, sequence in ipairs(UTF8_SEQUENCES) do
    text = string.gsub(text, sequence, '.')
  end
  return not string.find(text, '[\128-\255]')
end

-- Who a message is: {id, name, eta} with the id of its task, or of the message if it has none.
-- nil if the text is no message at all.
local function identify(raw)
  local is_json, message = pcall(cjson.decode, raw)
  if not is_utf8(raw) or not is_json or type(message) ~= 'table' or type(message.properties) ~= 'table' then
    return nil
  end
  local headers = type(message.headers) == 'table' and message.headers or {}
  local id = headers.id
  if type(id) ~= 'string' then
    id = message.properties.delivery_tag
  end
  if type(id) ~= 'string' then
    return nil
  end
  local name = type(headers.task) == 'string' and headers.task or ''
  return {id = id, name = name, eta = type(headers.eta) == 'string'}
end

-- A start is counted when a task is about to run: at the claim, or when its ETA has come.
local function count_start(run, worker, time)
  local history = redis.call('HGET', run, 'history') or ''
  redis.call('HINCRBY', run, 'starts', 1)
  redis.call('HSET', run, 'history', history .. string.format('%.3f %s\n', time, worker))
end

-- A claim that is given back without having run is no start.
local function uncount_start(run)
  local history = redis.call('HGET', run, 'history')
  if history then
    redis.call('HINCRBY', run, 'starts', -1)
    redis.call('HSET', run, 'history', (string.gsub(history, '[^\n]*\n$', '')))
  end
end

-- Puts the messages of an inbox back into their queue. The newest stands left, and the oldest shall
-- be claimed first: it goes back last.
local function empty_inbox(inbox)
  local queue = string.match(inbox, '|(.*)$')
  local moved = 0
  local raw = redis.call('LPOP', inbox)
  while raw do
    redis.call('RPUSH', queue, raw)
    moved = moved + 1
    raw = redis.call('LPOP', inbox)
  end
  return moved
end
