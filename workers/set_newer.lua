-- Set a list unless a newer one is there. KEYS[1]: the list. ARGV: the document, the offset of its
-- order stamp, the stamp, seconds to live (0: for good, -1: as before). Documents begin alike, so the stamp of the old one stands at the same place.
local first = tonumber(ARGV[2])
local old = redis.call('GETRANGE', KEYS[1], first, first + #ARGV[3] - 1)
if old > ARGV[3] then return 0 end
if ARGV[4] == '-1' then
    redis.call('SET', KEYS[1], ARGV[1], 'XX', 'KEEPTTL')
    return 1
end
redis.call('SET', KEYS[1], ARGV[1])
if ARGV[4] ~= '0' then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
return 1
