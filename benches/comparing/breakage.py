"""Ten endpoints, one of which breaks, users who come at their own pace, and what became of them."""

import asyncio
import contextlib
import ctypes
import dataclasses
import gc
import multiprocessing
import os
import random
import signal
import socket
import struct
import subprocess
import time
import urllib.request

from comparing import flood
from comparing.machine import find

COUNT = 10
CHECK = "/healthz"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsound"
REFUSAL = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"
# how an endpoint behaves: by its place, which the processes share
MODES = ("sound", "slow", "slower", "refuses", "wavers", "resets", "silent")
# seconds that these take longer
SLOWER = {"slow": 0.2, "slower": 1.0}
# seconds after which a user has given up, and after which no process of a case is left, whatever happens
PATIENCE, LONGEST = 10, 300
# seconds between two looks at what the proxy says
LOOK = 0.1
# connections of the users: more than can wait at once
MOST = 8000
TENANT = "acme"
FIELDS = f"Host: shop.example\r\nX-Tenant-ID: {TENANT}\r\n"
# for the packet filter: what it does with packets of the loopback interface
ARRIVING = """
table ip breaking {{
  chain arriving {{
    type filter hook input priority 0
    {}
  }}
}}
"""
REQUESTS = {
    "GET": f"GET /item HTTP/1.1\r\n{FIELDS}\r\n".encode(),
    "POST": f"POST /item HTTP/1.1\r\n{FIELDS}Content-Length: 5\r\n\r\nthing".encode(),
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """What happens to the last of the endpoints: names of methods of `Endpoints`, and what they are given."""

    about: str
    breaks: tuple
    mends: tuple
    # seconds after which it is mended and broken again, in turn
    turns: float | None = None
    # it takes the packet filter of a network of one's own
    filters: bool = False

    def steps(self, seconds):
        """What is done, and how long after the beginning. At the end all is mended."""
        steps = [(0, self.breaks)]
        while self.turns and (moment := len(steps) * self.turns) < seconds:
            steps.append((moment, (self.breaks, self.mends)[len(steps) % 2]))
        return [*steps, (seconds, self.mends)]


def behaves(mode, about):
    return Fault(about, ("be", mode), ("be", "sound"))


FAULTS = {
    "killed": Fault("killed (SIGKILL)", ("kill",), ("start",)),
    "stopped": Fault("stopped (SIGSTOP)", ("signal", signal.SIGSTOP), ("signal", signal.SIGCONT)),
    "slow": behaves("slow", "answers 200 ms later, checks pass"),
    "slower": behaves("slower", "answers 1 s later, checks pass"),
    "refuses": behaves("refuses", "answers 503, checks pass"),
    "wavers": behaves("wavers", "answers 503 every other time, checks pass"),
    "resets": behaves("resets", "resets after the request, checks pass"),
    "silent": behaves("silent", "accepts, never answers"),
    "flaps": Fault("killed and started each second", ("kill",), ("start",), turns=1),
    "partition": Fault("cannot be reached", ("cut",), ("join",), filters=True),
}


def taken(held):
    """The first whole request of what was read, and what follows it; or nothing."""
    head, end, rest = held.partition(b"\r\n\r\n")
    length = head.lower().partition(b"\r\ncontent-length:")[2].split(b"\r\n")[0].strip()
    return (head, rest[int(length or 0) :]) if end and len(rest) >= int(length or 0) else None


class Connection(asyncio.Protocol):
    """One connection of an endpoint."""

    def __init__(self, meets, takes):
        # counts a user's request and tells how it is met, or how a check is; and how many seconds an answer takes
        self.meets, self.takes = meets, takes
        self.transport, self.held = None, b""

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.held += data
        while found := taken(self.held):
            head, self.held = found
            is_check = head.startswith(f"GET {CHECK} ".encode())
            self.answer(self.meets(is_check), 0 if is_check else self.takes())

    def answer(self, mode, seconds):
        if mode == "resets":
            # with this, closing is a RST
            option = struct.pack("ii", 1, 0)
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, option)
            self.transport.abort()
        elif mode == "refuses":
            self.write(REFUSAL)
        elif mode != "silent":
            seconds += SLOWER.get(mode, 0)
            asyncio.get_running_loop().call_later(seconds, self.write, ANSWER)

    def write(self, answer):
        if not self.transport.is_closing():
            self.transport.write(answer)


def serve(address, number, seen, modes, takes):
    """An endpoint: a process of its own."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.alarm(LONGEST)
    draw = random.Random(number)

    def meets(is_check):
        mode = MODES[modes[number]]
        if is_check:
            return mode if mode == "silent" else "sound"
        seen[number] += 1
        if mode == "wavers":
            return ("sound", "refuses")[seen[number] % 2]
        return mode

    def connection():
        return Connection(meets, lambda: takes / 1e3 * draw.uniform(0.5, 1.5))

    async def main():
        loop = asyncio.get_running_loop()
        server = await loop.create_server(connection, *address, backlog=1024, reuse_address=True)
        await server.serve_forever()

    asyncio.run(main())


class Endpoints:
    """Ten processes, of which the last one breaks. `stop` ends them."""

    def __init__(self, takes):
        self.takes = takes
        # what they have seen outlives them
        self.counts = multiprocessing.RawArray(ctypes.c_ulonglong, COUNT)
        self.modes = multiprocessing.RawArray(ctypes.c_int, COUNT)
        self.addresses = [(address, free_port(address)) for address in (f"127.0.2.{number + 1}" for number in range(COUNT))]
        self.running = [None] * COUNT
        self.is_cut = False
        for number in range(COUNT):
            self.start(number)

    def start(self, number=COUNT - 1):
        if not self.running[number]:
            values = (self.addresses[number], number, self.counts, self.modes, self.takes)
            self.running[number] = multiprocessing.Process(target=serve, args=values, daemon=True)
            self.running[number].start()

    def kill(self, number=COUNT - 1):
        if child := self.running[number]:
            child.kill()
            child.join()
            self.running[number] = None

    def signal(self, number):
        os.kill(self.running[-1].pid, number)

    def be(self, mode):
        self.modes[COUNT - 1] = MODES.index(mode)

    def cut(self):
        """Where packets arrive, not where they are sent: the sender must not notice."""
        address = self.addresses[-1][0]
        filter_packets(ARRIVING.format(f"ip daddr {address} drop\nip saddr {address} drop"))
        self.is_cut = True

    def join(self):
        if self.is_cut:
            filter_packets("delete table ip breaking")
        self.is_cut = False

    def stop(self):
        self.join()
        for number in range(COUNT):
            self.kill(number)

    def seen(self):
        """The requests that each has read."""
        return list(self.counts)


def text(where):
    return "{}:{}".format(*where)


def free_port(address):
    with socket.create_server((address, 0)) as any_socket:
        return any_socket.getsockname()[1]


def filter_packets(rules):
    subprocess.run([find("nft"), "-f", "-"], input=rules, text=True, check=True, capture_output=True)


def may_filter():
    """Whether the packet filter takes the rules."""
    with contextlib.suppress(OSError, TypeError, subprocess.CalledProcessError):
        filter_packets(ARRIVING.format(""))
        filter_packets("delete table ip breaking")
        return True
    return False


def users(told, port, rate, posts, begin, end):
    """Asks so many times a second, from one moment to another, at times that are the same for all; a share of it are
    POSTs. Tells what became of each."""

    async def main():
        gc.disable()
        draw, log, asking = random.Random(2), {method: [] for method in REQUESTS}, set()
        client = flood.Client(port, TENANT, MOST)

        async def one(method, due):
            begun, status = time.monotonic(), 0
            with contextlib.suppress(asyncio.TimeoutError):
                status = await asyncio.wait_for(client.ask(REQUESTS[method]), due + PATIENCE - begun)
            log[method].append(flood.Asked(due, status, (time.monotonic() - due) * 1e3, (begun - due) * 1e3))

        due = begin
        while (due := due + draw.expovariate(rate)) < end:
            method = "POST" if draw.random() < posts else "GET"
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(one(method, due))
            asking.add(task)
            task.add_done_callback(asking.discard)
        if asking:
            await asyncio.wait(asking)
        told.send(log)

    asyncio.run(main())


def looked(told, url, used, address, end):
    """Looks at what a proxy says of itself up to a moment, and tells when an endpoint came into use and out of it."""
    changes = []
    while time.monotonic() < end:
        is_used = address in in_use(url, used)
        if not changes or changes[-1][1] != is_used:
            changes.append((time.monotonic(), is_used))
        time.sleep(LOOK)
    told.send(changes)


def in_use(url, used):
    """The endpoints that a proxy says it uses."""
    with contextlib.suppress(OSError, ValueError, LookupError):
        with urllib.request.urlopen(url, timeout=1) as answer:
            return used(answer.read().decode())
    return set()


def turned(changes, moment, to):
    """How long after a moment an endpoint was in use, or no longer; at once, where it was so already."""
    before = [is_used for at, is_used in changes if at < moment]
    if before and before[-1] == to:
        return 0.0
    return next((at - moment for at, is_used in changes if at >= moment and is_used == to), None)


@dataclasses.dataclass(frozen=True)
class Marks:
    """When it began, broke, was mended and ended."""

    begin: float
    broken: float
    mended: float
    end: float


def became(log, marks, counts, changes):
    """The figures of one case. `counts` is what each endpoint had seen when it broke, and a second after it was mended."""
    gets, posts = log["GET"], log["POST"]
    sent = len(due_in(gets + posts, marks.broken, marks.mended + 1))
    seen = [after - before for before, after in zip(*counts)]
    return {
        "healthy": flood.figures(due_in(gets, marks.begin, marks.broken)),
        "broken": flood.figures(due_in(gets, marks.broken, marks.mended)),
        "gets": flood.figures(due_in(gets, marks.broken, marks.end)),
        "posts": flood.figures(due_in(posts, marks.broken, marks.end)),
        "seen": sum(seen) / max(1, sent),
        "there": 100 * seen[-1] / max(1, sent),
        "out": turned(changes, marks.broken, False),
        "back": turned(changes, marks.mended, True),
        "late": flood.figures(gets + posts)["late"],
    }


def due_in(entries, begin, end):
    return [each for each in entries if begin <= each.due < end]


def ratio(rounds):
    """How many times as long the slowest hundredth takes while it is broken: the median of the rounds. There is none where
    that hundredth failed."""
    sides = [[each["healthy"], each["broken"]] for each in rounds]
    if any(flood.failed([side]) > 1 or side["p99"] is None for both in sides for side in both):
        return None
    return flood.middle([{"ratio": broken["p99"] / healthy["p99"]} for healthy, broken in sides], "ratio")


HEAD = (
    "one of ten endpoints", "proxy", "errors of GET", "of POST", "p50, ms", "p99, ms", "p99 x healthy", "seen / sent",
    "at the broken one, %", "out after, s", "back after, s",
)  # fmt: skip


def row(about, name, rounds):
    """A line of the table: medians, and errors of all rounds."""
    sides = [[each[side] for each in rounds] for side in ("healthy", "broken")]
    cells = [about, str(name), errors(rounds, "gets"), errors(rounds, "posts")]
    cells += [" → ".join(shown(flood.middle(side, key), 1) for side in sides) for key in ("p50", "p99")]
    cells += [shown(ratio(rounds), 2), shown(flood.middle(rounds, "seen"), 2)]
    cells += [shown(flood.middle(rounds, key), 1) for key in ("there", "out", "back")]
    return f"| {' | '.join(cells)} |"


def errors(rounds, kind):
    counts = [sum(each[kind][key] for each in rounds) for key in ("errors", "requests")]
    return "{} of {}".format(*counts)


def shown(value, places):
    return "-" if value is None else f"{value:,.{places}f}"
