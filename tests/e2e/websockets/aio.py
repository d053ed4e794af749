"""A WebSocket peer by aiohttp: plays the scripts of cases.rs as playing.py says, but for messages in parts,
which it cannot send."""

import asyncio

import aiohttp
from aiohttp import WSMsgType, web

from playing import LARGEST, binary, refusal, run, seen, tell

ENDS = (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR)


class Closed(Exception):
    """The other side has ended the conversation."""


async def take(socket):
    """The next message; pings before it are answered."""
    while True:
        message = await socket.receive()
        if message.type in ENDS:
            raise Closed
        if message.type == WSMsgType.PING:
            await socket.pong(message.data)
        elif message.type != WSMsgType.PONG:
            return message.data


async def send(socket, message):
    await (socket.send_str if isinstance(message, str) else socket.send_bytes)(message)


async def step(socket, log, name, *what):
    if name == "text":
        await socket.send_str(what[0])
    elif name == "binary":
        await socket.send_bytes(binary(what[0]))
    elif name == "ping":
        await socket.ping(what[0].encode())
        answer = await socket.receive()
        log.append("%s %r" % (answer.type.name.lower(), bytes(answer.data)))
    elif name == "pong":
        await socket.pong(what[0].encode())
    elif name in ("take", "echo"):
        for _ in range(what[0]):
            message = await take(socket)
            log.append(seen(message))
            if name == "echo":
                await send(socket, message)
    elif name == "close":
        await socket.close(code=what[0], message=what[1].encode())
    elif name == "end":
        while True:
            log.append(seen(await take(socket)))


async def play(socket, script):
    log = ["['permessage-deflate']" if socket.compress else "[]"]
    try:
        for words in script:
            await step(socket, log, *words)
    except Closed:
        pass
    log.append("closed: %s" % socket.close_code)
    return log


async def serve(cases):
    async def respond(request):
        number = int(request.match_info["number"])
        status = refusal(cases[number][1])
        if status:
            tell(number, ["refused"])
            answer = web.Response(status=status, text="no")
            answer.force_close()  # each case has a connection of its own
            return answer
        socket = web.WebSocketResponse(autoping=False, compress=True, max_msg_size=LARGEST)
        await socket.prepare(request)
        tell(number, await play(socket, cases[number][1]))
        return socket

    application = web.Application()
    application.router.add_get("/{number}", respond)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print("127.0.0.1:%d" % runner.addresses[0][1], flush=True)
    await asyncio.Future()


async def ask(cases, address):
    options = {"autoping": False, "compress": 15, "max_msg_size": LARGEST}
    connector = aiohttp.TCPConnector(force_close=True)
    fields = {"X-Tenant-ID": "acme"}
    async with aiohttp.ClientSession(connector=connector, headers=fields) as session:
        for number, (script, _) in enumerate(cases):
            try:
                socket = await session.ws_connect("http://%s/%d" % (address, number), **options)
            except aiohttp.WSServerHandshakeError as refused:
                tell(number, ["refused: %d" % refused.status])
                continue
            tell(number, await play(socket, script))


run(serve, ask)
