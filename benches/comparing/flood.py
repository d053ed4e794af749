"""An endpoint of limited capacity, requests that come at their own pace, and what became of them."""

import asyncio
import contextlib
import multiprocessing
import random
import statistics
import time
from typing import NamedTuple

from comparing.latency import quantiles

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
# seconds after the last request was due, for those that are still open
PATIENCE = 15


class Asked(NamedTuple):
    """One request."""

    due: float
    status: int | None
    # milliseconds since it was due: until its end, and until it was begun
    took: float
    late: float


def process(target, *more):
    """Starts a process that tells something: itself, and where to hear it."""
    told, ours = multiprocessing.Pipe()
    child = multiprocessing.Process(target=target, args=(ours, *more), daemon=True)
    child.start()
    ours.close()
    return child, told


def endpoint(told, places, takes):
    """An application with so many threads: a request takes one of them for half of `takes` milliseconds to half as
    long again, and waits for it in the order in which it came."""

    async def main():
        free, draw = asyncio.Semaphore(places), random.Random(1)

        async def serve(reader, writer):
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    async with free:
                        await asyncio.sleep(takes / 1e3 * draw.uniform(0.5, 1.5))
                    writer.write(ANSWER)
                    await writer.drain()
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


class Client:
    """Asks for one tenant, on as many connections as it needs."""

    def __init__(self, port, tenant, most):
        self.port, self.most, self.open, self.idle = port, most, 0, []
        self.request = f"GET / HTTP/1.1\r\nHost: a.example\r\nX-Tenant-ID: {tenant}\r\n\r\n".encode()

    async def ask(self, request=None):
        """The status; 0 where there was none, `None` where no connection was left."""
        if not self.idle and self.open >= self.most:
            return None
        self.open += not self.idle
        writer, stays = None, False
        try:
            reader, writer = self.idle.pop() if self.idle else await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(request or self.request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            stays = b"\r\nconnection: close" not in head
        except (OSError, asyncio.IncompleteReadError, IndexError):
            return 0
        finally:
            # also where who asked has given up
            if stays:
                self.idle.append((reader, writer))
            else:
                self.open -= 1
                if writer:
                    writer.close()
        return int(head[9:12])


def generator(told, port, rates, begin, end, most):
    """Asks for each tenant at its rate a second, from one moment to another, at times drawn beforehand. Tells what
    became of each request."""

    async def main():
        draw, log = random.Random(2), {tenant: [] for tenant in rates}
        asking = set()

        async def one(tenant, client, due):
            status, begun = 0, time.monotonic()
            try:
                status = await client.ask()
            finally:
                log[tenant].append(Asked(due, status, (time.monotonic() - due) * 1e3, (begun - due) * 1e3))

        async def each(tenant, rate):
            client, due = Client(port, tenant, most), begin
            while (due := due + draw.expovariate(rate)) < end:
                if (pause := due - time.monotonic()) > 0:
                    await asyncio.sleep(pause)
                task = asyncio.create_task(one(tenant, client, due))
                asking.add(task)
                task.add_done_callback(asking.discard)

        await asyncio.gather(*(each(*load) for load in rates.items()))
        if asking:
            _, late = await asyncio.wait(asking, timeout=PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        told.send(log)

    asyncio.run(main())


def asked(port, loads):
    """What became of the requests of several generators at once, each with its rates, begin, end and connections."""
    started = [process(generator, port, *load) for load in loads]
    logs = {}
    for child, told in started:
        logs |= told.recv()
        child.join()
    return logs


def figures(entries):
    """Of requests of one kind: how many, how many were not served, and how long the others took."""
    took = sorted(each.took for each in entries if each.status == 200)
    p50, p99, slowest = quantiles(took, (0.5, 0.99, 1)) if took else (None, None, None)
    late = quantiles(sorted(each.late for each in entries), (0.99,))[0] if entries else 0
    errors = len(entries) - len(took)
    return {"requests": len(entries), "errors": errors, "p50": p50, "p99": p99, "slowest": slowest, "late": late}


def served(entries, begin, end):
    """How many requests a second were served between two moments."""
    ends = [each.due + each.took / 1e3 for each in entries if each.status == 200]
    return sum(begin <= moment < end for moment in ends) / (end - begin)


def middle(rounds, key):
    """The median of a figure over the rounds that have it."""
    known = [each[key] for each in rounds if each[key] is not None]
    return statistics.median(known) if known else None


def ratio(rounds):
    """How much longer the slowest hundredth takes beside a flood than alone: the median of the rounds. There is none
    where that hundredth failed."""
    if any(failed([each[side]]) > 1 for each in rounds for side in ("alone", "beside")):
        return None
    return statistics.median(each["beside"]["p99"] / each["alone"]["p99"] for each in rounds)


def failed(rounds):
    """The share of requests that were not served, in per cent, over all rounds."""
    return 100 * sum(each["errors"] for each in rounds) / max(1, sum(each["requests"] for each in rounds))
