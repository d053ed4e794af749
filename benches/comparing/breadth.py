"""What a request costs where there is much of something: routes, pools, endpoints, connections."""

import multiprocessing
import signal
import socket
import time

from comparing.loads import in_turn
from comparing.machine import cpu_seconds, free_ports, open_many_files

MANY_ROUTES = 10_000
MANY_POOLS = 10_000
MANY_ENDPOINTS = 1_000
MANY_CONNECTIONS = 10_000
# each slow connection asks once in this time
SLOWLY = 10.0

# checked seldom, so that checks of many endpoints are not what is measured
POOL = """
[pools.{name}]
endpoints = [{endpoints}]
health = {{ http = "/", interval = "60s", timeout = "500ms" }}
retry = {{ attempts = 3 }}
"""


def addresses(count):
    """As many addresses of this machine alone."""
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]


class Ways:
    """The routes of each case."""

    def __init__(self, bench):
        self.up1, self.up2, self.count = bench.up1, bench.up2, bench.options.tenants
        self.two = [f"127.0.0.1:{self.up1}", f"127.0.0.1:{self.up2}"]

    def pool(self, name, endpoints):
        return POOL.format(name=name, endpoints=", ".join(f'"{each}"' for each in endpoints))

    def tenants(self, pool, more=""):
        numbers = range(self.count)
        return "".join(f'\n[tenants.t{number}]\npool = "{pool(number)}"\n{more}' for number in numbers)

    def plain(self):
        pools = self.pool("a", self.two) + self.pool("b", self.two)
        return pools + self.tenants(lambda number: "ab"[number % 2])

    def many_routes(self):
        # what is asked for matches none of those, and the tenant's own pool takes it
        routes = "".join(f'  {{ path = "/part/{number}/*", pool = "b" }},\n' for number in range(MANY_ROUTES))
        pools = self.pool("a", self.two) + self.pool("b", self.two)
        tenants = self.tenants(lambda number: "ab"[number % 2], 'use = ["many"]\n')
        return f"{pools}\n[route-sets.many]\nroutes = [\n{routes}]\n{tenants}"

    def many_pools(self):
        pools = "".join(self.pool(f"p{number}", self.two) for number in range(MANY_POOLS))
        return pools + self.tenants(lambda number: f"p{number * MANY_POOLS // self.count}")

    def many_endpoints(self):
        endpoints = [f"{address}:{self.up1}" for address in addresses(MANY_ENDPOINTS)]
        return self.pool("a", endpoints) + self.tenants(lambda _number: "a")


class Crowd:
    """Connections that have asked once, and ask again seldom or never: a process of its own, since each
    takes a file."""

    def __init__(self, port, count, pace):
        fork = multiprocessing.get_context("fork")
        self.count, self.asked, self.there = fork.Value("q", 0), 0, fork.Event()
        self.process = fork.Process(target=self.run, args=(port, count, pace), daemon=True)
        self.process.start()
        if not self.there.wait(60):
            raise SystemExit("the connections could not be opened")

    def answered(self):
        """How many answers came since this was asked last."""
        before, self.asked = self.asked, self.count.value
        return self.asked - before

    def run(self, port, count, pace):
        open_many_files()
        opened = [self.opened(port, number) for number in range(count)]
        self.there.set()
        while pace:
            for number, peer in enumerate(opened):
                time.sleep(pace / count)
                self.ask(peer, number)
        signal.pause()

    def opened(self, port, number):
        # each address of ours has some thousand ports of its own
        peer = socket.socket()
        peer.bind((f"127.0.0.{2 + number % 8}", 0))
        peer.connect(("127.0.0.1", port))
        self.ask(peer, number)
        return peer

    def ask(self, peer, number):
        peer.sendall(b"GET / HTTP/1.1\r\nHost: t\r\nX-Tenant-ID: t%d\r\n\r\n" % (number % 100))
        answer = peer.recv(4096)
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise SystemExit(f"an answer begins with {answer[:60]}")
        self.count.value += 1

    def end(self):
        self.process.terminate()
        self.process.join()


def cases(bench):
    """Each case: its routes, and the connections that are there besides: how many, and each how often asks."""
    ways = Ways(bench)
    return {
        f"{bench.options.tenants:,} tenants, 2 pools": (ways.plain(), 0, None),
        f"{MANY_ROUTES:,} routes": (ways.many_routes(), 0, None),
        f"{MANY_POOLS:,} pools": (ways.many_pools(), 0, None),
        f"{MANY_ENDPOINTS:,} endpoints": (ways.many_endpoints(), 0, None),
        f"{MANY_CONNECTIONS:,} idle": (ways.plain(), MANY_CONNECTIONS, None),
        f"{MANY_CONNECTIONS:,} slow": (ways.plain(), MANY_CONNECTIONS, SLOWLY),
    }


def measure(bench, load, options):
    """Rounds of all cases in turn, each a gateway of its own."""
    bench.upstream_addresses = addresses(MANY_ENDPOINTS)
    path = bench.start_upstream()
    gateways, crowds = {}, {}
    for number, (name, (routes, count, pace)) in enumerate(cases(bench).items()):
        port, admin = free_ports(2)
        gateways[name] = (bench.start_with_routes(port, admin, f"routes-{number}.toml", routes), port)
        bench.wait(name, gateways[name][0], port, path)
        crowds[name] = Crowd(port, count, pace)
        load.run(port, path, 1)
    rounds, names = [], list(gateways)
    try:
        for number in range(options.rounds):
            turn = in_turn(names, number)
            rounds.append({name: once(load, *gateways[name], path, crowds[name], options) for name in turn})
    finally:
        for crowd in crowds.values():
            crowd.end()
    return rounds, names


def once(load, process, port, path, crowd, options):
    crowd.answered()
    before = cpu_seconds(process.pid)
    result = load.run(port, path, options.secs)
    answered = max(1, result["requests"] - result["failed"] + crowd.answered())
    result["cost"] = (cpu_seconds(process.pid) - before) * 1e6 / answered
    result["rate"] = answered * 1e6 / result["us"]
    return result
