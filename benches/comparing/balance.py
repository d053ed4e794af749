"""How even connections are divided between workers: by the system alone, and by the gateway."""

import contextlib
import re
import socket
import statistics
import time

from comparing.machine import metrics_of

CONNECTIONS = (4, 16, 64)
TRIES = 20


def measure(gateways, out):
    """For so many workers each, the port of a gateway and that of its admin API."""
    print(f"\n{'':26}{'the system':>12}{'worst':>7}{'the gateway':>13}{'worst':>7}", file=out)
    figures = {}
    for workers, (port, admin) in gateways.items():
        for count in CONNECTIONS:
            ours = [busiest(by_the_gateway(port, admin, count)) for _ in range(TRIES)]
            systems = [busiest(by_the_system(workers, count)) for _ in range(TRIES)]
            name = f"{count} over {workers} workers"
            figures[name] = {"system": systems, "gateway": ours}
            cells = "".join(f"{statistics.median(each):>{width}.2f}{max(each):>7.2f}" for each, width in ((systems, 12), (ours, 13)))
            print(f"{name:26}{cells}", file=out)
    print("(connections of the worker that has the most, by what all would have if they had equally many)", file=out)
    return figures


def busiest(each):
    """What the one that has the most has, by an even share; no less than one is a share."""
    return max(each) / max(1, sum(each) / len(each))


def by_the_system(workers, count):
    """How many connections each of so many listeners of one port is given."""
    with contextlib.ExitStack() as opened:
        first = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=4096, reuse_port=True))
        address = first.getsockname()
        more = [socket.create_server(address, backlog=4096, reuse_port=True) for _ in range(1, workers)]
        listeners = [first, *map(opened.enter_context, more)]
        for _ in range(count):
            opened.enter_context(socket.create_connection(address))
        time.sleep(0.1)  # the last of them is there a little after its client has heard of it
        return [len(accepted(listener, opened)) for listener in listeners]


def accepted(listener, opened):
    """The connections that wait at a listener."""
    listener.setblocking(False)
    waiting = []
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting.append(opened.enter_context(listener.accept()[0]))
    return waiting


def by_the_gateway(port, admin, count):
    """How many connections each worker serves."""
    with contextlib.ExitStack() as opened:
        for _ in range(count):
            opened.enter_context(socket.create_connection(("127.0.0.1", port)))
        each = settled(admin, count)
    settled(admin, 0)
    return each


def settled(admin, count):
    """The connections of each worker, once they are so many."""
    deadline = time.monotonic() + 10
    while sum(each := connections(metrics_of(admin))) != count:
        if time.monotonic() > deadline:
            raise SystemExit(f"the workers tell of {each} connections, not {count}")
        time.sleep(0.05)
    return each


def connections(metrics):
    """Of each worker, as the metrics tell them."""
    found = re.findall(r"^tenantry_worker_connections\{[^}]*\} (\d+)", metrics, re.MULTILINE)
    return [int(count) for count in found]
