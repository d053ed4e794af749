"""A WebSocket peer by the library of Python: plays the scripts of cases.rs.

    peer.py server CASES              prints its address, then a line for each connection
    peer.py client CASES ADDRESS      plays all cases in turn, prints a line for each

CASES is a file: a list of [client's script, server's script]. A line is the number of its case and
what the peer has seen. The server ends when its standard input does.
"""

import asyncio
import hashlib
import http
import json
import os
import sys
import threading
import zlib

import websockets

# 64 MiB: frames that say more than this are at fault.
LARGEST = 64 << 20
OPTIONS = {"max_size": LARGEST, "ping_interval": None, "compression": "deflate"}


def binary(size):
    block = hashlib.shake_128(b"a block").digest(997)
    return (block * (size // len(block) + 1))[:size]


def seen(message):
    kind = "text" if isinstance(message, str) else "binary"
    data = message.encode() if isinstance(message, str) else message
    return "%s of %d bytes, %08x" % (kind, len(data), zlib.crc32(data))


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


def tell(number, log):
    print(json.dumps([number, log]), flush=True)


async def serve(cases):
    async def answer(socket):
        number = int(socket.path.strip("/"))
        tell(number, await play(socket, cases[number][1]))

    async def refuse(path, _):
        number = int(path.strip("/"))
        first = (cases[number][1] + [[""]])[0]
        if first[0] == "refuse":
            tell(number, ["refused"])
            return http.HTTPStatus(first[1]), [], b"no"

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


def end_with_the_test():
    sys.stdin.read()
    os._exit(0)


with open(sys.argv[2]) as file:
    CASES = json.load(file)
threading.Thread(target=end_with_the_test, daemon=True).start()
asyncio.run(serve(CASES) if sys.argv[1] == "server" else ask(CASES, sys.argv[3]))
