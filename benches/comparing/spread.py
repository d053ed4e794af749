"""Requests of one tenant after the other of very many, at their own pace, to an endpoint that answers at once."""

import asyncio
import random
import time

from comparing import flood

# connections; each is used again as soon as it is free
MOST = 1000


class Answering(asyncio.Protocol):
    """One connection of the endpoint."""

    def connection_made(self, transport):
        self.transport, self.rest = transport, b""

    def data_received(self, data):
        *whole, self.rest = (self.rest + data).split(b"\r\n\r\n")
        self.transport.write(flood.ANSWER * len(whole))


def endpoint(told):
    """Tells its port, and answers until it is ended."""

    async def main():
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=4096)
        told.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())


def generator(told, port, rate, tenants, ended):
    """So many requests a second, each of a tenant drawn from all, until `ended` is set. Tells what became of each."""

    async def main():
        draw, log, asking = random.Random(3), [], set()
        client = flood.Client(port, "", MOST)

        async def one(tenant, due):
            head = f"GET /a/b HTTP/1.1\r\nHost: a.example\r\nX-Tenant-ID: t{tenant}\r\n\r\n"
            status, begun = 0, time.monotonic()
            try:
                status = await client.ask(head.encode())
            finally:
                log.append(flood.Asked(due, status, (time.monotonic() - due) * 1e3, (begun - due) * 1e3))

        due = time.monotonic()
        while not ended.is_set():
            due += draw.expovariate(rate)
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            task = asyncio.create_task(one(draw.randrange(tenants), due))
            asking.add(task)
            task.add_done_callback(asking.discard)
        if asking:
            _, late = await asyncio.wait(asking, timeout=flood.PATIENCE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        told.send(log)

    asyncio.run(main())
