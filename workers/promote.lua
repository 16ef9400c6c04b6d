-- Make a version the current model, and note that. KEYS: the model, the promotions. ARGV: the version, the one that
-- must be current (or "*"), when, who, why, what it is (promote or rollback), how many promotions are kept.
-- Returns whether it was done, and the version that was current.
local before = redis.call('HGET', KEYS[1], 'version') or ''
if ARGV[2] ~= '*' and ARGV[2] ~= before then
    return {0, before}
end
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'promoted_at', ARGV[3], 'promoted_by', ARGV[4], 'why', ARGV[5])
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[7], '*', 'version', ARGV[1], 'before', before, 'at', ARGV[3],
    'by', ARGV[4], 'why', ARGV[5], 'kind', ARGV[6])
return {1, before}
