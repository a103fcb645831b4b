-- Append an event that moves no money.
-- ARGV: epoch, clock, event id, payload.   Answers: recorded
if lost() then
  return { 'lost' }
end
append(ARGV[3], ARGV[4])
return { 'recorded' }
