"""The scenarios, and how each is brought about."""

import dataclasses
import json
import os
import re
import socket
import ssl
import statistics
import subprocess

from comparing.machine import cpu_seconds, find, open_many_files, resident_bytes

SMALL = 128
POSTED = 64 << 10
# connections that lie idle; more would need higher limits of open files
IDLE = 2000

WRK_SCRIPT = """
local requests, at = {}, 0
function init(args)
  local tenants = tonumber(args[1])
  count = tonumber(args[3])
  local method, body = "GET", nil
  if tonumber(args[4]) > 0 then method, body = "POST", string.rep("y", tonumber(args[4])) end
  for number = 0, count - 1 do
    local fields = { ["X-Tenant-ID"] = "t" .. (number % tenants), ["X-Number"] = string.format("%06d", number) }
    requests[number] = wrk.format(method, args[2], fields, body)
  end
end
function request()
  at = at + 1
  if at >= count then at = 0 end
  return requests[at]
end
function done(summary, latency)
  local errors = summary.errors
  io.write(string.format('\\nJSON {"requests": %d, "us": %d, "p50": %d, "p99": %d, "failed": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""

# Without it clients of OpenSSL would ask for AES-256 first, and not all proxies would decide alike.
OPENSSL_CONF = """
openssl_conf = here
[here]
ssl_conf = for_tls
[for_tls]
system_default = one_cipher
[one_cipher]
Ciphersuites = TLS_AES_128_GCM_SHA256
"""


@dataclasses.dataclass(frozen=True)
class Scenario:
    """One row of the table."""

    about: str
    size: int = SMALL
    tls: bool = False
    program: str = "wrk"
    connections: int | None = None  # `None`: as many as were asked for
    posted: int = 0


SCENARIOS = {
    "small": Scenario("HTTP/1.1, 128 B"),
    "16k": Scenario("HTTP/1.1, 16 KiB", size=16 << 10),
    "1m": Scenario("HTTP/1.1, 1 MiB", size=1 << 20, connections=16),
    "post": Scenario("HTTP/1.1, POST of 64 KiB", posted=POSTED),
    "tls": Scenario("TLS 1.3, kept connections, 128 B", tls=True),
    "handshake": Scenario("TLS 1.3, a handshake for each request", tls=True, program="hey", connections=16),
    "h2": Scenario("HTTP/2 over TLS, 128 B, 8 x 32 streams", tls=True, program="h2load", connections=8),
    "idle": Scenario("an idle connection", program="idle", connections=IDLE),
    "idle-tls": Scenario("an idle connection, TLS 1.3", tls=True, program="idle", connections=IDLE),
}


class Load:
    """Loads one proxy after another by one scenario."""

    def __init__(self, scenario, options, folder, cores, texts=0):
        self.scenario, self.options, self.folder, self.cores = scenario, options, folder, cores
        # Requests that wrk goes round at least. What it pays for a text that has left its caches
        # shows in the load, and so in the batches that the gateway gets.
        self.texts = texts
        self.connections = scenario.connections or options.connections
        (folder / "round.lua").write_text(WRK_SCRIPT)
        (folder / "openssl.cnf").write_text(OPENSSL_CONF)
        self.environment = {**os.environ, "OPENSSL_CONF": str(folder / "openssl.cnf")}

    def run(self, port, path, seconds, tenants=None):
        """The answered and the failed requests of some seconds, and how long an answer took."""
        scheme = "https" if self.scenario.tls else "http"
        way = {"wrk": self.wrk, "hey": self.hey, "h2load": self.h2load}[self.scenario.program]
        return way(f"{scheme}://127.0.0.1:{port}", path, seconds, tenants or self.options.tenants)

    def measure(self, process, port, path, tenants=None):
        if self.scenario.program == "idle":
            return self.idle(process, port, path)
        before = cpu_seconds(process.pid)
        result = self.run(port, path, self.options.secs, tenants)
        answered = max(1, result["requests"] - result["failed"])
        result["cost"] = (cpu_seconds(process.pid) - before) * 1e6 / answered
        result["rate"] = answered * 1e6 / result["us"]
        return result

    def wrk(self, url, path, seconds, tenants):
        if self.scenario.posted:
            tenants = min(tenants, 8)  # a text of 64 KiB for each
        command = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s"]
        command += ["-s", str(self.folder / "round.lua"), url, "--", str(tenants), path]
        said = self.said([*command, str(max(tenants, self.texts)), str(self.scenario.posted)], seconds)
        for line in said.splitlines():
            if line.startswith("JSON "):
                return json.loads(line[5:])
        raise SystemExit(f"wrk failed:\n{said}")

    def hey(self, url, path, seconds, _tenants):
        command = ["hey", "-z", f"{seconds}s", "-c", str(self.connections), "-cpus", "1"]
        # it sends the host as the name of the server, where an address with a port is none
        command += ["-host", "t.bench"]
        command += ["-disable-keepalive", "-H", "X-Tenant-ID: t5", url + path]
        said = self.said(command, seconds)
        answered = re.search(r"\[200\]\s+(\d+) responses", said)
        took = re.search(r"Total:\s+([\d.]+) secs", said)
        if not answered or not took:
            raise SystemExit(f"hey failed:\n{said}")
        others = re.findall(r"\[(?!200)\d+\]\s+(\d+)", said)
        return result_of(int(answered[1]), sum(map(int, others)), float(took[1]), said)

    def h2load(self, url, path, seconds, _tenants):
        command = ["h2load", f"-c{self.connections}", "-m32", "-t1", "-D", str(seconds)]
        said = self.said([*command, "-H", "X-Tenant-ID: t5", url + path], seconds)
        answered = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", said)
        if not answered:
            raise SystemExit(f"h2load failed:\n{said}")
        good, *others = (int(count) for count in answered.groups())
        return result_of(good, sum(others), seconds, "")

    def said(self, command, seconds):
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=seconds + 30,
            env=self.environment,
            preexec_fn=lambda: os.sched_setaffinity(0, self.cores),
            check=False,
        )
        return done.stdout + done.stderr

    def idle(self, process, port, path):
        """What a connection takes that has carried one request and lies idle."""
        open_many_files()
        opened = [self.opened(port, path) for _ in range(50)]  # what is made once for all
        before = resident_bytes(process.pid)
        opened += [self.opened(port, path) for _ in range(self.connections)]
        taken = resident_bytes(process.pid) - before
        for connection in opened:
            connection.close()
        return {"cost": taken / 1024 / self.connections, "failed": 0}

    def opened(self, port, path):
        connection = socket.create_connection(("127.0.0.1", port), timeout=10)
        if self.scenario.tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection = context.wrap_socket(connection)
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: t\r\nX-Tenant-ID: t5\r\n\r\n".encode())
        answer = connection.makefile("rb")
        status, held = answer.readline(), {}
        while (line := answer.readline()) not in (b"\r\n", b""):
            name, value = line.decode().lower().split(":", 1)
            held[name] = value.strip()
        if not status.startswith(b"HTTP/1.1 200 ") or len(answer.read(SMALL)) < SMALL:
            raise SystemExit(f"an answer begins with {status} {held}")
        return connection


def result_of(answered, others, seconds, said):
    """As wrk tells it; latencies where the program tells them."""
    result = {"requests": answered + others, "failed": others, "us": seconds * 1e6}
    for share in (50, 99):
        found = re.search(rf"{share}%+ in ([\d.]+) secs", said)
        if found:
            result[f"p{share}"] = float(found[1]) * 1e6
    return result


def in_turn(names, number):
    """The order of a round: each begins with another one, so that what changes with time hits all."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def missing(scenario):
    """The program that a scenario needs and this machine does not have."""
    program = scenario.program
    return program if program != "idle" and not find(program) else None


def report(rounds, names, peers, scenario, heading):
    """Shows all of the figures, the median over the rounds."""
    unit = "KiB" if scenario.program == "idle" else "CPU us/req"
    print(f"{'':19}{unit:>12}{heading:>8}{'req/s':>10}{'p50 us':>8}{'p99 us':>8}{'failed':>8}")
    for name in names:
        rows = [each[name] for each in rounds]

        def middle(key):
            found = [row[key] for row in rows if key in row]
            return f"{statistics.median(found):,.0f}" if found else "-"

        cost = statistics.median(row["cost"] for row in rows)
        ratio = f"{ratio_to_best(rounds, name, peers):.2f}" if peers else "-"
        print(
            f"{name:19}{cost:>12.1f}{ratio:>8}{middle('rate'):>10}{middle('p50'):>8}"
            f"{middle('p99'):>8}{sum(row['failed'] for row in rows):>8}",
            flush=True,
        )


def ratio_to_best(rounds, name, peers):
    """What `name` costs by what the best of `peers` costs in the same round."""
    ratios = [each[name]["cost"] / max(min(each[peer]["cost"] for peer in peers), 1e-9) for each in rounds]
    return statistics.median(ratios)
