"""How long an answer takes where requests come at their own pace, not when the last one was answered."""

import contextlib
import socket
import statistics
import struct
import subprocess
import threading
import time

from comparing.loads import in_turn
from comparing.machine import metrics_of

SHARES = (0.5, 0.8)
QUANTILES = (0.5, 0.99, 0.999)
# Pools that are found by name, beside those that serve.
POOLS = 100


class Names:
    """A name server with one answer for all: 127.0.0.1, for a second."""

    def __init__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.socket.getsockname()[1]}"
        self.asked = 0
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        while True:
            try:
                query, client = self.socket.recvfrom(512)
            except OSError:
                return
            self.asked += 1
            # RFC 1035 section 4: the question stands behind twelve bytes and ends four after its name
            end = query.index(b"\0", 12) + 5
            kind = struct.unpack(">H", query[end - 4 : end - 2])[0]
            answers = [b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + b"\x7f\0\0\1"] if kind == 1 else []
            head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, len(answers), 0, 0)
            self.socket.sendto(head + query[12:end] + b"".join(answers), client)


def offered(load, port, path, rate, seconds):
    """The latencies, in milliseconds, of requests that come at `rate` a second over all connections."""
    log = load.folder / "latency.log"
    log.unlink(missing_ok=True)
    each = max(1, round(rate / load.connections))
    command = ["h2load", "--h1", f"-c{load.connections}", "-t1", "-D", str(seconds), f"--rps={each}"]
    command += ["--warm-up-time=1", f"--log-file={log}", "-H", "X-Tenant-ID: t5"]
    said = load.said([*command, f"http://127.0.0.1:{port}{path}"], seconds + 1)
    took, failed = [], 0
    for line in log.read_text().splitlines():
        _, status, microseconds = line.split("\t")[:3]
        if status == "200":
            took.append(int(microseconds) / 1e3)
        else:
            failed += 1
    if not took or failed:
        raise SystemExit(f"{failed} requests failed, {len(took)} were answered:\n{said}")
    return corrected(took, 1e3 / each)


def corrected(took, pause):
    """With what was not asked meanwhile: a client whose answer takes longer than the pause between two of
    its requests leaves out those that were due, and each of them would have waited, too."""
    missed = []
    for each in took:
        while (each := each - pause) > 0:
            missed.append(each)
    return sorted(took + missed)


def quantiles(took, shares=QUANTILES):
    return [took[min(len(took) - 1, int(len(took) * share))] for share in shares]


@contextlib.contextmanager
def each_second(work):
    """Does `work` once a second, beside what is measured."""
    done = threading.Event()

    def run():
        number = 0
        while not done.wait(1):
            number += 1
            work(number)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def beside_peers(load, ports, path, options, out):
    """Direct, and through each proxy: at shares of what the slowest of them can do."""
    capacity = {name: most(load, port, path, options.secs) for name, port in ports.items() if name != "direct"}
    slowest = min(capacity.values())
    told = ", ".join(f"{name} {rate:,.0f}" for name, rate in capacity.items())
    print(f"capacity, requests a second on one core: {told}", file=out)
    figures = {}
    for share in SHARES:
        rounds = {name: [] for name in ports}
        for number in range(options.rounds):
            for name in in_turn(list(ports), number):
                rounds[name].append(quantiles(offered(load, ports[name], path, slowest * share, options.secs)))
        heading(f"\n{slowest * share:,.0f} requests a second, {share:.0%} of the slowest one's capacity", out)
        direct = middle(rounds["direct"])
        for name in ports:
            row(name, middle(rounds[name]), direct, out)
        figures[f"{share:.0%}"] = rounds
    return slowest, figures


def most(load, port, path, seconds):
    """Answers a second where each comes right after the last one."""
    result = load.run(port, path, seconds)
    return (result["requests"] - result["failed"]) * 1e6 / result["us"]


class Beside:
    """What happens to the gateway beside the requests."""

    def __init__(self, bench, names, port, admin):
        self.bench, self.names, self.admin = bench, names, admin
        self.questions = []
        self.looked_up = "".join(
            f'[pools.named-{number}]\ndns = "p{number}.test:{bench.up1}"\n' for number in range(POOLS)
        )
        # each where the requests go, and what happens meanwhile
        self.all = {
            "direct": (bench.up1, contextlib.nullcontext),
            "nothing else happens": (port, contextlib.nullcontext),
            "its routes are edited": (port, lambda: each_second(self.edit)),
            f"{POOLS} pools are looked up": (port, self.looking_up),
            "its metrics are read": (port, lambda: each_second(self.scrape)),
        }

    def edit(self, number):
        more = f'[pools.edited-{number}]\nendpoints = ["127.0.0.1:{self.bench.up1}"]\n'
        self.bench.write_routes(self.bench.options.tenants, more)

    def scrape(self, _number):
        metrics_of(self.admin)

    @contextlib.contextmanager
    def looking_up(self):
        self.bench.write_routes(self.bench.options.tenants, self.looked_up)
        time.sleep(2)
        asked, began = self.names.asked, time.monotonic()
        yield
        self.questions.append((self.names.asked - asked) / (time.monotonic() - began))
        self.bench.write_routes(self.bench.options.tenants)
        time.sleep(2)


def disturbed(load, path, rate, options, beside, out):
    """The same gateway while nothing, and while something else, happens once a second."""
    rounds = {name: [] for name in beside.all}
    for number in range(options.rounds):
        for name in in_turn(list(beside.all), number):
            port, meanwhile = beside.all[name]
            with meanwhile():
                rounds[name].append(quantiles(offered(load, port, path, rate, options.secs)))
    heading(f"\nTenantry at {rate:,.0f} requests a second, while once a second", out)
    direct = middle(rounds["direct"])
    for name in beside.all:
        row(name, middle(rounds[name]), direct, out)
    print(f"({statistics.median(beside.questions):,.0f} questions a second were answered)", file=out)
    return rounds


def middle(rounds):
    return [statistics.median(each[place] for each in rounds) for place in range(len(QUANTILES))]


def heading(title, out):
    columns = "".join(f"{'p' + format(share * 100, 'g') + ' ms':>12}{'added':>9}" for share in QUANTILES)
    print(f"{title}\n{'':34}{columns}", file=out, flush=True)


def row(name, took, base, out):
    cells = "".join(f"{value:>12.3f}{value - calm:>9.3f}" for value, calm in zip(took, base))
    print(f"{name:34}{cells}", file=out, flush=True)
