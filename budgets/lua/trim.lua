-- Forget events that the warehouse holds. ARGV: epoch, clock, id of the first that stays.
if lost() then
  return { 'lost' }
end
redis.call('XTRIM', OUTBOX, 'MINID', ARGV[3])
return { 'trimmed' }
