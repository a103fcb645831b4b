-- Begin a life of the ledger on this server, unless somebody else has done so since.
-- ARGV: the epoch as it was read (empty: none), '', the new epoch, the server's run id, and which
-- gateway collects the outbox.
-- Answers: founded, epoch, run id, collector     those that hold now
local epoch = redis.call('HGET', META, 'epoch') or ''
if epoch == ARGV[1] then
  redis.call('HSET', META, 'epoch', ARGV[3], 'run_id', ARGV[4], 'collector', ARGV[5])
end
return { 'founded', unpack(redis.call('HMGET', META, 'epoch', 'run_id', 'collector')) }
