-- One limit that gateways share, by the generic cell rate algorithm: how far its word lies ahead of
-- now, as src/limits/gcra has it. A value is when that was so, in microseconds, and the distance, in
-- sixteenths of a nanosecond: all of them are whole numbers below 2^53, which Lua counts exactly.
--
-- KEYS[1] the limit
-- ARGV    interval: what a request is worth; depth: what a burst is worth
--         spent: requests that have passed and are to be counted, whether there is room or not
--         own: how far ahead the asking gateway's own word lies, the least that can be true
--         wanted: requests that it would like to have beforehand
--         back: requests that it had beforehand and does not need
-- Gives how many of those that are wanted it has, and how far the word lies ahead now.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, depth, spent, own, wanted, back = tonumber(ARGV[1]), tonumber(ARGV[2]),
    tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])

local ahead = 0
local at, was = string.match(redis.call('GET', KEYS[1]) or '', '^(%d+) (%d+)$')
if at then
    -- A clock that was set back brings nothing back.
    ahead = math.max(0, was - math.max(0, now - at) * 16000)
end
ahead = math.max(0, ahead - back * interval)
ahead = math.min(math.max(ahead + spent * interval, own), 2 * depth)
local granted = math.max(0, math.min(wanted, math.floor((depth - ahead) / interval)))
ahead = ahead + granted * interval

if ahead > 0 then
    local value = string.format('%.0f %.0f', now, ahead)
    redis.call('SET', KEYS[1], value, 'PX', math.ceil(ahead / 16000000))
else
    redis.call('DEL', KEYS[1])
end
return {granted, ahead}
