"""wrk asks as fast as it is answered while an endpoint breaks, and what became of that."""

import contextlib
import json
import multiprocessing
import statistics
import subprocess
import time

from comparing.breakage import COUNT, TENANT, Endpoints, free_port, serve, shown, text
from comparing.machine import cpu_seconds, find

# seconds of wrk before something changes, so that each change falls into the midst of requests
INTO = 0.5
# seconds after which wrk takes an answer for none: as long as a user has patience
PATIENCE = 10

SCRIPT = """
wrk.path = "/item"
wrk.headers["Host"] = "shop.example"
wrk.headers["X-Tenant-ID"] = "%s"
local pause = %d
if pause > 0 then function delay() return pause end end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\\nJSON {"requests": %%d, "us": %%d, "p50": %%d, "p99": %%d, "sockets": %%d, "refused": %%d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
"""


# `444` resets: nginx has no other way to.
NGINX = """
daemon off;
master_process off;
pid {folder}/{number}.pid;
worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  default_type text/plain;
  keepalive_requests 1000000000;
  keepalive_timeout 300s;
  reset_timedout_connection on;
  client_body_temp_path {folder}/{number}-b; proxy_temp_path {folder}/{number}-p;
  fastcgi_temp_path {folder}/{number}-f; uwsgi_temp_path {folder}/{number}-u; scgi_temp_path {folder}/{number}-s;
  upstream behind {{ server {behind}; keepalive 256; }}
  server {{
    listen {address} backlog=4096;
    error_page 502 = @resets;
    location @resets {{ return 444; }}
    location /behind/ {{
      internal;
      proxy_pass http://behind/;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_read_timeout 300s;
    }}
    location / {{
      if (-f {folder}/{number}.broken) {{ rewrite ^ /behind$uri last; }}
      return 200 "sound";
    }}
  }}
}}
"""


class Quick(Endpoints):
    """Ten of nginx, each a process, which answer at once. While the last one behaves otherwise it asks a process that does."""

    def __init__(self, folder, takes):
        self.folder, self.behind = folder, ("127.0.3.1", free_port("127.0.3.1"))
        super().__init__(takes)
        values = (self.behind, COUNT - 1, self.counts, self.modes, takes)
        self.other = multiprocessing.Process(target=serve, args=values, daemon=True)
        self.other.start()

    def start(self, number=COUNT - 1):
        if not self.running[number]:
            config = self.folder / f"{number}.conf"
            values = {"folder": self.folder, "number": number, "behind": text(self.behind)}
            config.write_text(NGINX.format(address=text(self.addresses[number]), **values))
            command = [find("nginx"), "-e", str(self.folder / f"{number}.log"), "-c", str(config)]
            self.running[number] = subprocess.Popen(command, stdin=subprocess.DEVNULL)

    def kill(self, number=COUNT - 1):
        if child := self.running[number]:
            child.kill()
            child.wait()
            self.running[number] = None

    def be(self, mode):
        super().be(mode)
        broken = self.folder / f"{COUNT - 1}.broken"
        if mode == "sound":
            broken.unlink(missing_ok=True)
        else:
            broken.touch()

    def stop(self):
        super().stop()
        self.other.kill()
        self.other.join()


@contextlib.contextmanager
def asking(folder, port, connections, seconds, pause=None):
    """Has wrk ask for some seconds, and gives who waits for what it tells; ends it, whatever happens. With a pause, be it 0 milliseconds,
    it is beside somebody else that is measured, and stands back."""
    script = folder / "asking.lua"
    script.write_text(SCRIPT % (TENANT, pause or 0))
    command = [find("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", f"{PATIENCE}s"]
    command += ["-s", str(script), f"http://127.0.0.1:{port}"]
    if pause is not None:
        command = ["nice", "-n", "19", *command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        yield lambda: told(process.communicate(timeout=seconds + 30)[0])
    finally:
        process.kill()
        process.communicate()


def told(said):
    """What wrk has seen, of what it said."""
    for line in said.splitlines():
        if line.startswith("JSON "):
            return figures(json.loads(line[5:]))
    raise SystemExit(f"wrk failed:\n{said}")


def figures(seen):
    """Answers a second that were good, latencies in milliseconds, and what failed."""
    good = max(0, seen["requests"] - seen["refused"])
    result = {"requests": seen["requests"], "sockets": seen["sockets"], "refused": seen["refused"]}
    result |= {"rate": good * 1e6 / max(1, seen["us"])}
    return result | {key: seen[key] / 1e3 for key in ("p50", "p99")}


def broken_and_mended(endpoints, fault, ask, seconds, calm):
    """Asks while all is well, while an endpoint breaks, and while it is mended: each change comes into the midst of it.
    `ask` is `asking`, for so many seconds."""
    *breaks, (_, mends) = fault.steps(seconds - INTO)
    sides = {}
    with ask(calm) as end:
        sides["healthy"] = end()
    for side, steps, lasts in (("broken", breaks, seconds), ("mended", [(0, mends)], calm)):
        with ask(lasts) as end:
            begun = time.monotonic() + INTO
            for moment, (method, *given) in steps:
                time.sleep(max(0, begun + moment - time.monotonic()))
                getattr(endpoints, method)(*given)
            sides[side] = end()
    return sides


@contextlib.contextmanager
def watched(process, sides):
    """Tells beside the sides how much of a core a process took, in per cent."""
    began, before = time.monotonic(), cpu_seconds(process.pid)
    yield
    sides["core"] = 100 * (cpu_seconds(process.pid) - before) / (time.monotonic() - began)


SIDES = ("healthy", "broken", "mended")
HEAD = (
    "one of ten endpoints", "connections", "proxy", "errors of sockets", "not 2xx", "p50, ms", "p99, ms", "p99 x healthy",
    "answers a second", "of the proxy's core, %",
)  # fmt: skip


def row(about, connections, name, rounds):
    """A line of the table: medians, and errors of all rounds from the fault on."""
    asked = sum(each[side]["requests"] for each in rounds for side in SIDES[1:])
    cells = [about, str(connections), str(name)]
    for kind in ("sockets", "refused"):
        cells.append(f"{sum(each[side][kind] for each in rounds for side in SIDES[1:]):,} of {asked:,}")
    cells += [" → ".join(shown(middle(rounds, side, key), 1) for side in SIDES) for key in ("p50", "p99")]
    cells.append(shown(statistics.median(each["broken"]["p99"] / max(0.001, each["healthy"]["p99"]) for each in rounds), 2))
    cells.append(" → ".join(shown(middle(rounds, side, "rate"), 0) for side in SIDES))
    cells.append(shown(statistics.median(each["core"] for each in rounds), 0))
    return f"| {' | '.join(cells)} |"


def middle(rounds, side, key):
    return statistics.median(each[side][key] for each in rounds)
