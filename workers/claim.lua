-- Take over a partition. KEYS[1]: its position. ARGV: our epoch, the offset to begin at where there is
-- no position yet. Returns whether it is ours now (not where the epoch is no newer than the owner's),
-- then epoch, next, ids, buckets, commits.
local current = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
local ours = tonumber(ARGV[1]) > current
if ours then
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
    redis.call('HSETNX', KEYS[1], 'next', ARGV[2])
    redis.call('HSETNX', KEYS[1], 'ids', 0)
    redis.call('HSETNX', KEYS[1], 'buckets', 1)
    redis.call('HSETNX', KEYS[1], 'commits', 0)
end
return {ours and 1 or 0, unpack(redis.call('HMGET', KEYS[1], 'epoch', 'next', 'ids', 'buckets', 'commits'))}
