"""What tenants cost a request: the loads change so often that a change of the machine's speed hits all of them."""

import os
import re
import statistics
import subprocess
import time

TABLE = 100_000
# of how many tenants the requests are, one after the other
LOADS = (1, 1000, TABLE)

# One generator for all loads, with as many texts for each, so that its own caches fare alike. It
# tells when it begins with another load and how many requests it has sent until then. The loads
# come in another order each time.
WRK_SCRIPT = """
local ffi = require("ffi")
ffi.cdef[[ typedef struct { long s; long ns; } moment; int clock_gettime(int, moment *); ]]
local moment, MONOTONIC, CHECKED = ffi.new("moment"), 1, 16
local texts, loads, order, count, length = {}, {}, {}, 0, 0
local at, sent, slice, load = 0, 0, -1, nil
local function now()
  ffi.C.clock_gettime(MONOTONIC, moment)
  return tonumber(moment.s) + tonumber(moment.ns) / 1e9
end
function init(args)
  count, length = tonumber(args[2]), tonumber(args[3])
  for place = 4, #args do
    local used, mine = tonumber(args[place]), {}
    -- those whose ids are as long as most of the table's: what a longer text costs is no growth
    local first = used < count and count / 10 or 0
    for number = 0, count - 1 do
      local tenant = first + number % used
      local fields = { ["X-Tenant-ID"] = string.format("t%d", tenant), ["X-Number"] = string.format("%06d", number) }
      mine[number] = wrk.format("GET", args[1], fields)
    end
    loads[#loads + 1], texts[used] = used, mine
  end
  math.randomseed(1)
  load = loads[1]
end
local function another()
  if #order == 0 then
    for place, used in ipairs(loads) do table.insert(order, math.random(place), used) end
  end
  return table.remove(order)
end
function request()
  if sent % CHECKED == 0 then
    local time = now()
    if math.floor(time / length) ~= slice then
      slice, load = math.floor(time / length), another()
      io.write(string.format("SLICE %.6f %d %d\\n", time, sent, load))
      io.flush()
    end
  end
  sent, at = sent + 1, (at + 1) % count
  return texts[load][at]
end
"""

SLICE = 0.2
# behind the generator by more than this, a reading of the clock belongs to no slice
LATE = 0.01
FEWEST = 200


def alternate(load, process, port, path, seconds):
    """CPU microseconds a request of slices in turn: rounds of one slice for each of LOADS."""
    script = load.folder / "growth.lua"
    script.write_text(WRK_SCRIPT)
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{seconds}s", "-s", str(script)]
    command += [f"http://127.0.0.1:{port}", "--", path, str(TABLE), str(SLICE), *map(str, LOADS)]
    clock = (~process.pid << 3) | 2  # the CPU time of another process, see clock_getcpuclockid(3)
    marks, rest = [], []
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.sched_setaffinity(0, load.cores)
    ) as wrk:
        for line in wrk.stdout:
            if line.startswith("SLICE "):
                used, (_, began, sent, name) = time.clock_gettime(clock), line.split()
                late = time.monotonic() - float(began) > LATE
                marks.append(None if late else (used, int(sent), int(name)))
            else:
                rest.append(line)
    failed = [line.strip() for line in rest if re.search("Non-2xx|Socket errors", line)]
    if failed or wrk.returncode:
        raise SystemExit("\n".join(failed) or f"wrk failed:\n{''.join(rest)}")
    rounds, costs = [], {}
    # the first round of them warms what they touch
    for start, end in zip(marks[len(LOADS) :], marks[len(LOADS) + 1 :]):
        if start and end and end[1] - start[1] >= FEWEST:
            costs[start[2]] = (end[0] - start[0]) * 1e6 / (end[1] - start[1])
        if len(costs) == len(LOADS):
            rounds.append(costs)
            costs = {}
    return rounds


def tell(rounds, out):
    """Each load's slice in the middle, and its ratio to the first load's in the same round: the middle
    half of the ratios."""
    print(f"{'':22}{'CPU us/req':>12}{'x first':>9}{'middle half':>18}{'rounds':>8}", file=out)
    for name in LOADS:
        middle = statistics.median(each[name] for each in rounds)
        low, ratio, high = statistics.quantiles((each[name] / each[LOADS[0]] for each in rounds), n=4)
        label, half = f"{name:,} of {TABLE:,}", f"{low:.2f} to {high:.2f}"
        print(f"{label:22}{middle:>12.2f}{ratio:>9.3f}{half:>18}{len(rounds):>8}", file=out)
