"""A canary at each worker of a gateway asks again and again: how long it waits, and how much of that is the gateway's own."""

import gc
import multiprocessing
import os
import re
import socket
import time
from pathlib import Path
from typing import NamedTuple

from comparing.machine import metrics_of

# seconds between an answer and the next question
PAUSE = 0.001


class Wait(NamedTuple):
    """One answer. All in seconds."""

    took: float
    # of it, for how long the worker's thread, and the canary, stood in line for a processor
    queued: float
    # for how long the gateway's threads, all together, had one meanwhile
    ran: float


def own(wait):
    """How much of a wait is the gateway's own: all of it, but for what the worker and the canary stood in line while
    others had the processors. Where the gateway had one for half of the time or more it may be that very one, so
    that nothing is taken off."""
    return wait.took if wait.ran * 2 >= wait.took else max(0, wait.took - wait.queued)


def longest(waits):
    """The longest wait of the gateway's own making."""
    return max(map(own, waits))


def shown(waits):
    """In milliseconds: p50, p99 and the longest, and the longest of the gateway's own making."""
    times = sorted(wait.took for wait in waits)
    figures = (times[len(times) // 2], times[len(times) * 99 // 100], times[-1])
    return " / ".join(f"{1e3 * each:.2f}" for each in figures) + f" (own: {1e3 * longest(waits):.2f})"


class Canaries:
    """One for each worker, each a process with a connection that this worker serves."""

    def __init__(self, gateway, ask, answered, workers):
        self.pipes, self.birds = [], []
        threads = threads_of(gateway.process.pid)
        for worker, peer in at_each_worker(gateway.port, gateway.admin, workers).items():
            ours, theirs = multiprocessing.Pipe()
            facts = (theirs, peer, (gateway.process.pid, threads[worker]), ask, answered)
            bird = multiprocessing.get_context("fork").Process(target=canary, args=facts, daemon=True)
            bird.start()
            theirs.close()
            peer.close()
            self.pipes.append(ours)
            self.birds.append(bird)

    def told(self):
        """The waits of all of them since they were last asked."""
        for pipe in self.pipes:
            pipe.send("tell")
        return [wait for pipe in self.pipes for wait in pipe.recv()]

    def stop(self):
        for bird in self.birds:
            bird.terminate()
            bird.join()


def threads_of(process):
    """The threads of a gateway's workers, by number."""
    named = ((task.name, (task / "comm").read_text()) for task in Path(f"/proc/{process}/task").iterdir())
    found = ((re.fullmatch(r"worker-(\d+)\n", name), int(task)) for task, name in named)
    return {int(match[1]): task for match, task in found if match}


def at_each_worker(port, admin, workers):
    """A connection to each worker, by its number. Others are opened until all have one, and closed then."""
    found, spare, before = {}, [], {}
    while len(found) < workers:
        peer = socket.create_connection(("127.0.0.1", port))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        now = connections(admin, len(found) + len(spare) + 1)
        worker = next(number for number, count in now.items() if count > before.get(number, 0))
        before = now
        if worker in found:
            spare.append(peer)
        else:
            found[worker] = peer
    for peer in spare:
        peer.close()
    return found


def connections(admin, count):
    """How many each worker has, once they are so many."""
    deadline = time.monotonic() + 10
    while True:
        found = re.findall(r'^tenantry_worker_connections\{worker="(\d+)"\} (\d+)', metrics_of(admin), re.MULTILINE)
        each = {int(worker): int(connections) for worker, connections in found}
        if sum(each.values()) == count:
            return each
        if time.monotonic() > deadline:
            raise SystemExit(f"the workers tell of {each} connections, not {count}")
        time.sleep(0.02)


def canary(pipe, peer, threads, ask, answered):
    """Asks until it is ended, and tells its waits when it is asked for them."""
    process, worker = threads
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    # what its own collector would make it wait is nobody's
    gc.disable()
    lines = [f"/proc/{process}/task/{worker}/schedstat", f"/proc/self/task/{os.getpid()}/schedstat"]
    lines = [os.open(path, os.O_RDONLY) for path in lines]
    clock = (~process << 3) | 2  # the CPU time of another process, see clock_getcpuclockid(3)

    def taken():
        # proc(5): time on a processor, time in line for one, in nanoseconds
        queued = sum(int(os.pread(line, 64, 0).split()[1]) for line in lines)
        return queued / 1e9, time.clock_gettime(clock)

    waits = []
    while True:
        before, began = taken(), time.perf_counter()
        peer.sendall(ask)
        answer = peer.recv(4096)
        took, now = time.perf_counter() - began, taken()
        if not answer.startswith(answered):
            raise SystemExit(f"the canary is not served: {answer[:400]}")
        waits.append(Wait(took, now[0] - before[0], now[1] - before[1]))
        if pipe.poll(PAUSE):
            pipe.recv()
            pipe.send(waits)
            waits = []
