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

-- Lets a run be remembered for at least so many seconds; `left` is how many it has (TTL: -2 if there
-- is no run yet). One that is held has no end, which is -1, and gets none.
local function keep_run(run, left, seconds)
  if left ~= -1 and left < tonumber(seconds) then
    redis.call('EXPIRE', run, seconds)
  end
end

-- Leaves the publisher's note of a run, pushes its message and notes since when it waits. What a
-- running or finished task left there stays, and is remembered for as long as the message may wait.
--
-- Unlike what takes messages out, this is refused at the memory limit, by its first write. It reads
-- first: if a key holds something else, nothing has been written.
--
-- Returns whether the run is new: a retry's is not.
local function push_with_note(run, list, raw, name, queue, published_at, run_expires)
  local left = redis.call('TTL', run)
  local is_noted = redis.call('HEXISTS', run, 'name') == 1
  redis.call('LLEN', list)
  if not is_noted then
    redis.call('HSET', run, 'name', name, 'queue', queue, 'published_at', published_at)
  end
  redis.call('LPUSH', list, raw)
  redis.call('HSET', run, 'queued_at', string.format('%.6f', now()))
  keep_run(run, left, run_expires)
  return not is_noted
end

-- Whether the stored result of a task says that it has succeeded. That stays: what a copy of the
-- task has to say afterwards does not count.
local function has_succeeded(result)
  local is_json, meta = pcall(cjson.decode, redis.call('GET', result) or '')
  return is_json and type(meta) == 'table' and meta.status == 'SUCCESS'
end

-- Lists a task among those that were published last, and forgets the oldest of more than about
-- `keep`: whole nodes of the stream, which costs next to nothing.
local function note_recent(recent, task_id, keep)
  redis.call('XADD', recent, 'MAXLEN', '~', keep, '*', 'id', task_id)
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
