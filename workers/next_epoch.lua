-- Return an epoch that is newer than every one before. KEYS[1]: the last one.
--
-- It is at least the time, in milliseconds, so that it stays newer where Redis is restored to an older state
-- and the counter with it: lists that were written meanwhile bear epochs that the counter alone would give again.
local epoch = redis.call('INCR', KEYS[1])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if epoch < now then
    epoch = now
    redis.call('SET', KEYS[1], string.format('%.0f', epoch))
end
return epoch
