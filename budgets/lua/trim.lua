-- Forget events that the warehouse of the gateway that collects holds; what another one holds is
-- still to be collected. ARGV: epoch, clock, id of the first that stays, gateway.
-- Answers: trimmed
if lost() then
  return { 'lost' }
end
if redis.call('HGET', META, 'collector') == ARGV[4] then
  redis.call('XTRIM', OUTBOX, 'MINID', ARGV[3])
end
return { 'trimmed' }
