"""What runs inside Redis: counters of a cluster, from which workers take in advance.

One hash a counter: moments ``r`` and ``t`` (see ``rules``; here in microseconds), the clock's ``s`` and ``o`` (see
``page``), and for each worker ``w:NAME``: places in flight and tokens that it may hold, and when that ends. What a
worker holds is stated as a whole each time, so that saying it twice changes nothing; what it asks for is given for all
counters or for none. Of a worker whose time is over, the tokens are counted as used.

A quarter of what is left is given in advance at most, so that the last requests of a limit are not held by one worker.
"""

from typing import Final

ARGUMENTS: Final = 13
"""Numbers for each counter, behind the worker's name and how long (us) what it holds is kept."""
ANSWERS: Final = 7
"""Numbers for each counter: requests, tokens and places given; owed of requests and of tokens (us); tokens that all
workers hold; places that are left."""

TAKE: Final = """
local worker, keep = 'w:' .. ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local clock = time[1] * 1000000 + time[2]
local plans, refused, what, wait = {}, 0, '', 0

local function cost(count, rate) return rate > 0 and math.ceil(count * 60000000 / rate) or 0 end
local function fits(time, rate) return math.floor(time * rate / 60000000 + 0.000001) end
local function given(need, want, room) return math.min(want, math.max(need, math.floor(room / 4))) end

for i, key in ipairs(KEYS) do
  local at = 2 + (i - 1) * 13
  local function arg(n) return tonumber(ARGV[at + n]) end
  local rpm, burst, tpm, most = arg(1), arg(2), arg(3), arg(4)
  local r_need, r_want, t_need, t_want, t_held = arg(5), arg(6), arg(7), arg(8), arg(9)
  local c_need, c_want, c_held, used = arg(10), arg(11), arg(12), arg(13)
  local found = redis.call('HMGET', key, 'r', 't', 's', 'o')
  local r, t = tonumber(found[1]) or 0, tonumber(found[2]) or 0
  local seen, offset = tonumber(found[3]) or 0, tonumber(found[4]) or 0
  local now = clock + offset
  if now < seen then
    if seen - now > 1000000 then offset = offset + seen - now end
    now = seen
  end
  local gone, places, tokens = {}, 0, 0
  local all = redis.call('HGETALL', key)
  for n = 1, #all, 2 do
    if string.sub(all[n], 1, 2) == 'w:' and all[n] ~= worker then
      local c, k, ends = string.match(all[n + 1], '^(%d+) (%d+) (%d+)$')
      if tonumber(ends) <= now then
        gone[#gone + 1] = all[n]
        used = used + tonumber(k)
      else
        places, tokens = places + tonumber(c), tokens + tonumber(k)
      end
    end
  end
  t = math.max(t, now) + cost(used, tpm)
  local r_owed, t_owed = math.max(r - now, 0), t - now
  local plan = {key = key, now = now, offset = offset, gone = gone, r = r, t = t, rpm = rpm,
    r_given = 0, t_given = 0, c_given = 0, t_held = t_held, c_held = c_held,
    r_owed = r_owed, t_owed = t_owed, tokens = tokens + t_held, places = most - places - c_held}
  if refused == 0 and r_need > 0 then
    local room = fits(cost(burst, rpm) - r_owed, rpm)
    if room < r_need then
      refused, what, wait = i, 'requests', r_owed + cost(r_need, rpm) - cost(burst, rpm)
    else
      plan.r_given = given(r_need, r_want, room)
    end
  end
  if refused == 0 and t_need > 0 then
    local room = fits(cost(tpm, tpm) - t_owed, tpm) - tokens - t_held
    if room < t_need then
      refused, what, wait = i, 'tokens', cost(t_need - room, tpm)
    else
      plan.t_given = given(t_need, t_want, room)
    end
  end
  if refused == 0 and c_need > 0 then
    local room = most - places - c_held
    if room < c_need then
      refused, what, wait = i, 'concurrent', 1000000
    else
      plan.c_given = given(c_need, c_want, room)
    end
  end
  plans[i] = plan
end

local answer = {refused, what, math.max(wait, 0)}
for _, plan in ipairs(plans) do
  if refused > 0 then plan.r_given, plan.t_given, plan.c_given = 0, 0, 0 end
  local charged = cost(plan.r_given, plan.rpm)
  local r = plan.r
  if charged > 0 then r = math.max(plan.r, plan.now) + charged end
  local c, k = plan.c_held + plan.c_given, plan.t_held + plan.t_given
  if #plan.gone > 0 then redis.call('HDEL', plan.key, unpack(plan.gone)) end
  if c > 0 or k > 0 then
    redis.call('HSET', plan.key, worker, string.format('%.0f %.0f %.0f', c, k, plan.now + keep))
  else
    redis.call('HDEL', plan.key, worker)
  end
  redis.call('HSET', plan.key, 'r', string.format('%.0f', r), 't', string.format('%.0f', plan.t),
    's', string.format('%.0f', plan.now), 'o', string.format('%.0f', plan.offset))
  local left = math.max(r, plan.t) - plan.now
  redis.call('PEXPIRE', plan.key, math.ceil(math.max(left, keep) / 1000) + 60000)
  for _, number in ipairs({plan.r_given, plan.t_given, plan.c_given, math.max(r - plan.now, 0),
    plan.t_owed, plan.tokens + plan.t_given, math.max(plan.places - plan.c_given, 0)}) do
    answer[#answer + 1] = number
  end
end
return answer
"""
