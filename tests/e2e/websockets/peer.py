"""A WebSocket peer by the library websockets: plays the scripts of cases.rs as playing.py says."""

import asyncio
import http

import websockets

from playing import LARGEST, binary, refusal, run, seen, tell

OPTIONS = {"max_size": LARGEST, "ping_interval": None, "compression": "deflate"}


async def with_pings(socket, parts):
    for part in parts:
        yield part
        await socket.ping("after " + part)


async def step(socket, log, name, *what):
    if name == "text":
        await socket.send(what[0])
    elif name == "binary":
        await socket.send(binary(what[0]))
    elif name == "parts":
        await socket.send(what[0])
    elif name == "parts-ping":
        await socket.send(with_pings(socket, what[0]))
    elif name == "ping":
        await (await socket.ping(what[0]))
        log.append("pong")
    elif name == "pong":
        await socket.pong(what[0])
    elif name in ("take", "echo"):
        for _ in range(what[0]):
            message = await socket.recv()
            log.append(seen(message))
            if name == "echo":
                await socket.send(message)
    elif name == "close":
        await socket.close(*what)
    elif name == "end":
        while True:
            log.append(seen(await socket.recv()))


async def play(socket, script):
    log = [str([extension.name for extension in socket.extensions])]
    try:
        for words in script:
            await step(socket, log, *words)
    except websockets.ConnectionClosed:
        pass
    await socket.wait_closed()
    log.append("closed: %s %r" % (socket.close_code, socket.close_reason))
    return log


async def serve(cases):
    async def answer(socket):
        number = int(socket.path.strip("/"))
        tell(number, await play(socket, cases[number][1]))

    async def refuse(path, _):
        number = int(path.strip("/"))
        status = refusal(cases[number][1])
        if status:
            tell(number, ["refused"])
            return http.HTTPStatus(status), [], b"no"

    server = websockets.serve(answer, "127.0.0.1", 0, process_request=refuse, **OPTIONS)
    async with server as server:
        print("127.0.0.1:%d" % server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Future()


async def ask(cases, address):
    for number, (script, _) in enumerate(cases):
        url = "ws://%s/%d" % (address, number)
        fields = {"X-Tenant-ID": "acme"}
        try:
            socket = await websockets.connect(url, extra_headers=fields, **OPTIONS)
        except websockets.InvalidStatusCode as refusal:
            tell(number, ["refused: %d" % refusal.status_code])
            continue
        tell(number, await play(socket, script))


run(serve, ask)
