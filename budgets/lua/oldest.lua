-- When the oldest open hold was admitted. ARGV: epoch, clock.   Answers: oldest, admitted_ms or ''
if lost() then
  return { 'lost' }
end
local oldest = ''
for _, stored in ipairs(redis.call('HVALS', HOLD)) do
  local _, _, _, admitted = hold_fields(stored)
  if oldest == '' or tonumber(admitted) < tonumber(oldest) then
    oldest = admitted
  end
end
return { 'oldest', oldest }
