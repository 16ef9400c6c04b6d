-- Take over a partition. KEYS[1]: its position. ARGV: our epoch, the offset to begin at where there is
-- no position yet. Returns epoch, next, ids, buckets; the epoch is not ours when a newer owner has it.
local current = tonumber(redis.call('HGET', KEYS[1], 'epoch') or '0')
if tonumber(ARGV[1]) > current then
    redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
    redis.call('HSETNX', KEYS[1], 'next', ARGV[2])
    redis.call('HSETNX', KEYS[1], 'ids', 0)
    redis.call('HSETNX', KEYS[1], 'buckets', 1)
end
return redis.call('HMGET', KEYS[1], 'epoch', 'next', 'ids', 'buckets')
