-- One limit that gateways share, by the generic cell rate algorithm: how far its word lies ahead of
-- now, as src/limits/gcra has it. A value is when that was so, in microseconds, and the distance, in
-- sixteenths of a nanosecond: all of them are whole numbers below 2^53, which Lua counts exactly.
--
-- KEYS[1] the limit
-- ARGV    interval: what a request is worth; depth: what a burst is worth
--         spent: requests that have passed and are to be counted, whether there is room or not
--         own: how far ahead the asking gateway's own word lies, the least that can be true; 0 where
--         the store has heard of that already
--         wanted: requests that it would like to have beforehand
--         back: requests that it had beforehand and does not need
--         age: how long ago, in microseconds, the first of those that are spent may have passed
-- Gives how many of those that are wanted it has, and how far the word lies ahead now; and a 1 behind
-- it where the key had held something else, which has made room.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, depth, spent, own, wanted, back = tonumber(ARGV[1]), tonumber(ARGV[2]),
    tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local age = tonumber(ARGV[7])

local value = redis.pcall('GET', KEYS[1])
if type(value) == 'table' then
    if not string.find(value.err or '', 'WRONGTYPE', 1, true) then
        return value
    end
    value = 'of another type'
end
-- First as it was when those that are spent began to pass, so that what time has brought since is not
-- lost to them; then as it is. Never from before it was last written: several gateways tell of the
-- same time, and it brings its requests once.
local ahead, since = 0, 0
local at, was = string.match(value or '', '^(%d+) (%d+)$')
if at then
    -- A clock that was set back brings nothing back.
    since = math.max(0, now - at)
end
age = math.min(age, since)
if at then
    ahead = math.max(0, was - (since - age) * 16000)
end
ahead = math.max(0, ahead - back * interval)
-- What was too much stays to be made up for: no more than what can be counted, which is 6 days.
ahead = math.max(ahead + spent * interval - age * 16000, own, 0)
ahead = math.min(ahead, 9007199254740991)
local granted = math.max(0, math.min(wanted, math.floor((depth - ahead) / interval)))
ahead = ahead + granted * interval

-- It stays until it is whole, and where something was counted a second longer, so that whoever comes
-- next finds when that was.
local stay = math.max(1, math.ceil(ahead / 16000000))
if spent + granted + back > 0 then
    stay = stay + 1000
end
redis.call('SET', KEYS[1], string.format('%.0f %.0f', now, ahead), 'PX', stay)
if value and not at then
    return {granted, ahead, 1}
end
return {granted, ahead}
