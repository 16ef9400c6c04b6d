-- Write one batch of one partition, together with its position, or nothing.
--
-- KEYS[1] is the position (hash: epoch, next, commits); the other keys are those that the operations touch.
-- ARGV: epoch, base, commits before this one, next, then for each operation: index in KEYS, command, number of arguments,
-- arguments. The command DECAY (key: popularity; arguments: limit, then pairs of member and log2 of a
-- weight) adds weights that are kept as logarithms.
local position = redis.call('HMGET', KEYS[1], 'epoch', 'next', 'commits')
if position[1] ~= ARGV[1] then return {'refused', position[1] or ''} end
if position[2] ~= ARGV[2] or position[3] ~= ARGV[3] then
    return {'moved', (position[2] or '') .. ' after ' .. (position[3] or '') .. ' commits'}
end

local LOG2 = math.log(2)

local function decay(key, limit, first, last)
    for i = first, last, 2 do
        local added = tonumber(ARGV[i + 1])
        local old = tonumber(redis.call('ZSCORE', key, ARGV[i]) or '-inf')
        local high, low = math.max(old, added), math.min(old, added)
        local sum = high + math.log(1 + 2 ^ (low - high)) / LOG2
        redis.call('ZADD', key, string.format('%.17g', sum), ARGV[i])
        if redis.call('ZCARD', key) > limit then redis.call('ZPOPMIN', key) end
    end
end

local at = 5
while at <= #ARGV do
    local key, command, count = KEYS[tonumber(ARGV[at])], ARGV[at + 1], tonumber(ARGV[at + 2])
    local first, last = at + 3, at + 2 + count
    if command == 'DECAY' then
        decay(key, tonumber(ARGV[first]), first + 1, last)
    else
        redis.call(command, key, unpack(ARGV, first, last))
    end
    at = last + 1
end
redis.call('HSET', KEYS[1], 'next', ARGV[4], 'commits', ARGV[3] + 1)
return {'written', ARGV[4]}
