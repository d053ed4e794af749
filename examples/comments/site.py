"""Comments for several tenants: one instance of the site.

Run as `site.py --database FILE --name NAME`. Instances with the same file are one site: what is
posted at one is live at all of them. The first line on standard output is the address.

The tenant is the X-Tenant-ID of the request, which the gateway sets. Nobody else may be able to
connect: a client that could would choose its tenant itself.
"""

import argparse
import asyncio
import json
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from html import escape
from pathlib import Path
from signal import SIGINT, SIGTERM
from string import Template
from urllib.parse import urlsplit
from uuid import uuid4

from aiohttp import WSMsgType, web

HERE = Path(__file__).parent
PAGE = Template((HERE / "page.html").read_text())
ROW = Template((HERE / "comment.html").read_text())

AUTHOR_LENGTH = 60
TEXT_LENGTH = 2000
SHOWN = 200  # comments of a page
BODY_SIZE = 16 << 10  # a form with the longest comment, percent-encoded
LOOK_EVERY = 0.1  # seconds between two looks whether another instance has written
SOCKETS = 1000  # of one instance

SCHEMA = """
CREATE TABLE IF NOT EXISTS comments (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    tenant TEXT NOT NULL,
    key TEXT NOT NULL,
    author TEXT NOT NULL,
    text TEXT NOT NULL,
    at INTEGER NOT NULL,
    instance TEXT NOT NULL,
    UNIQUE (tenant, key)
)
"""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; "
    "connect-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


class Comments:
    """The database. Its calls run on one thread of their own, so that the loop never waits."""

    def __init__(self, path):
        self.thread = ThreadPoolExecutor(max_workers=1)
        self.connection = self.thread.submit(self._open, path).result()

    @staticmethod
    def _open(path):
        connection = sqlite3.connect(path, timeout=10, isolation_level=None)
        connection.row_factory = sqlite3.Row
        # Readers of one instance do not wait for the writer of the other.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(SCHEMA)
        return connection

    def _run(self, sql, values):
        with closing(self.connection.execute(sql, values)) as cursor:
            return [dict(row) for row in cursor.fetchall()]

    async def query(self, sql, *values):
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.thread, self._run, sql, values)

    async def add(self, tenant, key, author, text, instance):
        """Adds a comment, once: one that comes again under its key is the one that is there."""
        await self.query(
            "INSERT INTO comments (tenant, key, author, text, at, instance) "
            "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            *(tenant, key, author, text, int(time.time()), instance),
        )
        sql = "SELECT * FROM comments WHERE tenant = ? AND key = ?"
        return (await self.query(sql, tenant, key))[0]

    async def of(self, tenant, after=0):
        """The last comments of a tenant, the newest first."""
        sql = "SELECT * FROM comments WHERE tenant = ? AND id > ? ORDER BY id DESC LIMIT ?"
        return await self.query(sql, tenant, after, SHOWN)

    async def newest(self):
        return (await self.query("SELECT coalesce(max(id), 0) AS id FROM comments"))[0]["id"]


class Listener:
    """A browser that listens, and what waits to be sent to it."""

    def __init__(self, socket):
        self.socket = socket
        self.waiting = asyncio.Queue(maxsize=SHOWN)
        self.lost = False

    def tell(self, comment):
        try:
            self.waiting.put_nowait(comment)
        except asyncio.QueueFull:
            self.lost = True  # it takes nothing; what it misses it gets when it connects again

    async def send(self, before):
        """What the browser has missed, the oldest first, then what waits and is newer."""
        last = 0
        for comment in reversed(before):
            await self.socket.send_json(shown(comment))
            last = comment["id"]
        while not self.lost:
            comment = await self.waiting.get()
            if comment["id"] > last:
                await self.socket.send_json(shown(comment))
        await self.socket.close(code=1013)


class Live:
    """The listeners of this instance by tenant, and the watch over what any instance has written."""

    def __init__(self, comments):
        self.comments = comments
        self.listeners = {}
        # The instance is ending: who connects again shall find another one.
        self.closing = False
        self.wake = asyncio.Event()

    async def run(self):
        seen = await self.comments.newest()
        while True:
            # Another instance tells nobody when it writes; asking for the newest id is an
            # index look-up. What this one writes is told at once.
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wake.wait(), LOOK_EVERY)
            self.wake.clear()
            try:
                sql = "SELECT * FROM comments WHERE id > ? ORDER BY id LIMIT 500"
                new = await self.comments.query(sql, seen)
            except sqlite3.Error as error:
                print(f"cannot look for new comments: {error}", flush=True)
                continue
            for comment in new:
                for listener in self.listeners.get(comment["tenant"], ()):
                    listener.tell(comment)
                seen = comment["id"]

    def all(self):
        return [one for listeners in self.listeners.values() for one in listeners]


def shown(comment):
    """What a browser is told of a comment. It makes text of it, never HTML."""
    return {name: comment[name] for name in ("id", "key", "author", "text", "at", "instance")}


def tenant_of(request):
    tenant = request.headers.get("X-Tenant-ID")
    if not tenant:
        raise web.HTTPBadRequest(text="No tenant: this site is reached through the gateway.\n")
    return tenant


def refuse_strangers(request):
    """A page of another site may neither post here nor listen: browsers say where they come from.
    This site has no cookies, so that there would be no session to abuse; and it may get one."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise web.HTTPForbidden(text="This comes from another site.\n")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.host:
        raise web.HTTPForbidden(text="This comes from another site.\n")


def field(fields, name, longest):
    value = fields.get(name, "")
    value = value if isinstance(value, str) else ""  # a file
    # Without what cannot be stored (half of a surrogate pair) or seen.
    value = value.encode("utf-8", "replace").decode().replace("\r\n", "\n")
    value = "".join(c for c in value if c.isprintable() or c == "\n").strip()
    if not value:
        raise web.HTTPUnprocessableEntity(text=f"Something is missing: {name}.\n")
    if len(value) > longest:
        raise web.HTTPUnprocessableEntity(text=f"{name}: {longest} characters are the most.\n")
    return value


async def page(request):
    tenant = tenant_of(request)
    rows = []
    for comment in await request.app["comments"].of(tenant):
        values = {name: escape(str(value)) for name, value in comment.items()}
        when = time.gmtime(comment["at"])
        values["time"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", when)
        values["when"] = time.strftime("%d %b %Y, %H:%M UTC", when)
        rows.append(ROW.substitute(values))
    html = PAGE.substitute(
        tenant=escape(tenant),
        initial=escape(tenant[0].upper()),
        rows="".join(rows),
        key=uuid4(),
        author_length=AUTHOR_LENGTH,
        text_length=TEXT_LENGTH,
    )
    return web.Response(text=html, content_type="text/html", headers={"Cache-Control": "no-store"})


async def post(request):
    """A form's comment. With JSON asked for, the comment comes back; else the page does."""
    tenant = tenant_of(request)
    refuse_strangers(request)
    fields = await request.post()
    author = field(fields, "author", AUTHOR_LENGTH)
    text = field(fields, "text", TEXT_LENGTH)
    # The key under which the gateway may send the same post again is the one that it is stored by.
    key = request.headers.get("Idempotency-Key") or fields.get("key") or ""
    if not isinstance(key, str) or not 8 <= len(key) <= 64:
        raise web.HTTPUnprocessableEntity(text="A comment needs a key of 8 to 64 characters.\n")
    comment = await request.app["comments"].add(tenant, key, author, text, request.app["name"])
    request.app["live"].wake.set()
    if request.headers.get("Accept") == "application/json":
        return web.json_response(shown(comment), status=201)
    raise web.HTTPSeeOther("/")


async def live(request):
    """What is new since the comment that the browser has last, and then each as it comes."""
    tenant = tenant_of(request)
    refuse_strangers(request)
    app = request.app
    if app["live"].closing:
        raise web.HTTPServiceUnavailable(text="This instance is ending.\n", headers={"Retry-After": "1"})
    if len(app["live"].all()) >= SOCKETS:
        raise web.HTTPServiceUnavailable(text="Too many listen.\n", headers={"Retry-After": "5"})
    try:
        after = int(request.query.get("after", "0"))
    except ValueError:
        raise web.HTTPBadRequest(text="after is the number of a comment.\n")
    socket = web.WebSocketResponse(heartbeat=20, max_msg_size=1024)
    await socket.prepare(request)
    listener = Listener(socket)
    listeners = app["live"].listeners.setdefault(tenant, set())
    # Before the look at what it has missed, so that nothing falls in between.
    listeners.add(listener)
    if app["live"].closing:
        await socket.close(code=1001)
    sending = asyncio.create_task(listener.send(await app["comments"].of(tenant, after)))
    try:
        async for message in socket:
            if message.type is WSMsgType.ERROR:
                break
    finally:
        sending.cancel()
        listeners.discard(listener)
        if not listeners:
            app["live"].listeners.pop(tenant, None)
    return socket


async def healthz(request):
    await request.app["comments"].newest()
    return web.Response(text="ok\n")


async def sign(request, response):
    response.headers.extend({**HEADERS, "X-Instance": request.app["name"]})


async def run_live(app):
    task = asyncio.create_task(app["live"].run())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


async def close_sockets(app):
    """Before a drain waits for them. 1001: browsers connect again, to another instance."""
    app["live"].closing = True
    await asyncio.gather(*(one.socket.close(code=1001) for one in app["live"].all()))


async def make(options):
    app = web.Application(client_max_size=BODY_SIZE)
    app["name"] = options.name
    app["comments"] = Comments(options.database)
    app["live"] = Live(app["comments"])
    app.on_response_prepare.append(sign)
    app.cleanup_ctx.append(run_live)
    app.on_shutdown.append(close_sockets)
    app.router.add_get("/", page)
    app.router.add_post("/comments", post)
    app.router.add_get("/live", live)
    app.router.add_get("/healthz", healthz)
    app.router.add_static("/static", HERE / "static")
    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--database", required=True, help="the file of all instances")
    parser.add_argument("--name", required=True, help="of this instance")
    parser.add_argument("--port", type=int, default=0, help="at 127.0.0.1; 0 = any")
    options = parser.parse_args()

    async def serve():
        stop = asyncio.Event()
        for signal in (SIGINT, SIGTERM):
            asyncio.get_running_loop().add_signal_handler(signal, stop.set)
        runner = web.AppRunner(await make(options), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", options.port).start()
        print("%s:%d" % runner.addresses[0][:2], flush=True)
        await stop.wait()
        await runner.cleanup()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
