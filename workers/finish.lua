-- Put the one reply to each request in place, and take the requests out of the stream.
-- KEYS: the stream, then the list of each reply. ARGV: the group, the number of requests, their entries, then of each
-- reply what it says and the seconds that it waits to be read.
-- In one call, so that no reply is ever without an end; and instead of what stands there, so that one id that is
-- used again and again does not pile up replies.
local requests = tonumber(ARGV[2])
for number = 2, #KEYS do
    local place = 2 * number + requests - 1
    redis.call('DEL', KEYS[number])
    redis.call('RPUSH', KEYS[number], ARGV[place])
    redis.call('EXPIRE', KEYS[number], ARGV[place + 1])
end
local entries = {unpack(ARGV, 3, requests + 2)}
redis.call('XACK', KEYS[1], ARGV[1], unpack(entries))
redis.call('XDEL', KEYS[1], unpack(entries))
