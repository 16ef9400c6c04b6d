-- Put the one reply to a request in place. KEYS[1]: its list. ARGV: the reply, seconds that it waits to be read.
-- In one call, so that no reply is ever without an end; and instead of what stands there, so that one id that is
-- used again and again does not pile up replies.
redis.call('DEL', KEYS[1])
redis.call('RPUSH', KEYS[1], ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
