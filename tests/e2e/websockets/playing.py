"""What the Python peers have in common: the cases, and what a peer tells of each.

    PEER.py server CASES              prints its address, then a line for each connection
    PEER.py client CASES ADDRESS      plays all cases in turn, prints a line for each

CASES is a file: a list of [client's script, server's script]. A line is the number of its case and
what the peer has seen. The server ends when its standard input does.
"""

import asyncio
import hashlib
import json
import os
import sys
import threading
import zlib

# 64 MiB: frames that say more than this are at fault.
LARGEST = 64 << 20


def binary(size):
    block = hashlib.shake_128(b"a block").digest(997)
    return (block * (size // len(block) + 1))[:size]


def seen(message):
    kind = "text" if isinstance(message, str) else "binary"
    data = message.encode() if isinstance(message, str) else message
    return "%s of %d bytes, %08x" % (kind, len(data), zlib.crc32(data))


def refusal(script):
    """The status that a server answers in place of switching, if the case is that it does."""
    first = (script + [[""]])[0]
    return first[1] if first[0] == "refuse" else None


def tell(number, log):
    print(json.dumps([number, log]), flush=True)


def end_with_the_test():
    sys.stdin.read()
    os._exit(0)


def run(serve, ask):
    with open(sys.argv[2]) as file:
        cases = json.load(file)
    threading.Thread(target=end_with_the_test, daemon=True).start()
    asyncio.run(serve(cases) if sys.argv[1] == "server" else ask(cases, sys.argv[3]))
