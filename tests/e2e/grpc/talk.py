"""A server and a client of gRPC by grpcio, whose messages are bytes: no schema is compiled.

    talk.py server              prints its address; ends when its standard input does
    talk.py client ADDRESS      makes calls of every kind, prints what came of each

The service is the one of tests/it/world/grpc.rs, as far as it is needed here: tests/it/http2/grpcio.rs
puts one in the place of the other.
"""

import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

LARGEST = [("grpc.max_receive_message_length", 64 << 20), ("grpc.max_send_message_length", 64 << 20)]
TENANT = ("x-tenant-id", "acme")


# Calls of Count and Chat, and of Say that wait, which have not ended.
under_way = set()


def begin(context):
    under_way.add(context)
    if not context.add_callback(lambda: under_way.discard(context)):
        under_way.discard(context)


def greet(context):
    asked = dict(context.invocation_metadata())
    back = [(name, asked[name]) for name in ("x-word", "x-bytes-bin") if name in asked]
    context.send_initial_metadata(back + [("x-server", "grpcio")])


def fail(context):
    context.set_trailing_metadata([("x-why", "because"), ("x-details-bin", b"\0\1\xff")])
    context.abort(grpc.StatusCode.NOT_FOUND, "nothing: 5 % of \u00e9")


def say(message, context):
    greet(context)
    if message == b"fail":
        fail(context)
    if message == b"under way?":
        return b"%d" % len(under_way)
    if message == b"wait":
        begin(context)
        ended = threading.Event()
        context.add_callback(ended.set)
        ended.wait(30)
    return message


def count(message, context):
    begin(context)
    greet(context)
    number, _, fails = message.decode().partition(" ")
    for turn in range(int(number)):
        yield b"%d" % turn
    if fails:
        fail(context)


def total(messages, context):
    greet(context)
    sizes = [len(message) for message in messages]
    return b"%d of %d bytes" % (len(sizes), sum(sizes))


def chat(messages, context):
    begin(context)
    greet(context)
    for message in messages:
        if message == b"fail":
            fail(context)
        yield message


def serve():
    calls = {
        "Say": grpc.unary_unary_rpc_method_handler(say),
        "Count": grpc.unary_stream_rpc_method_handler(count),
        "Sum": grpc.stream_unary_rpc_method_handler(total),
        "Chat": grpc.stream_stream_rpc_method_handler(chat),
    }
    server = grpc.server(ThreadPoolExecutor(16), options=LARGEST)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("talk.Talk", calls),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print("127.0.0.1:%d" % port, flush=True)
    sys.stdin.read()
    os._exit(0)


def failure(call):
    try:
        result = call()
        for _ in result if hasattr(result, "__next__") else ():
            pass
    except grpc.RpcError as error:
        fields = dict(error.trailing_metadata() or ())
        names = ("x-why", "x-details-bin", "grpc-status-details-bin")
        kept = {name: fields[name] for name in names if name in fields}
        return "%s %r %r" % (error.code().name, error.details(), kept)
    return "no failure"


def ask(address):
    with grpc.insecure_channel(address, options=LARGEST) as channel:
        one = channel.unary_unary("/talk.Talk/Say")
        down = channel.unary_stream("/talk.Talk/Count")
        up = channel.stream_unary("/talk.Talk/Sum")
        both = channel.stream_stream("/talk.Talk/Chat")
        acme = {"metadata": [TENANT], "timeout": 20}

        tell = lambda what, came: print("%s: %s" % (what, came), flush=True)
        tell("one", one(b"hello", **acme))
        tell("down", list(down(b"3", **acme)))
        tell("up", up(iter([b"a", b"bc", b"def"]), **acme))

        turns = threading.Semaphore(1)

        def words():
            for word in (b"one", b"", b"three"):
                turns.acquire()
                yield word

        back = []
        for message in both(words(), **acme):
            back.append(message)
            turns.release()
        tell("both, in turns", back)

        word = [TENANT, ("x-word", "a, b; c"), ("x-bytes-bin", b"\0\xff,\n")]
        _, call = one.with_call(b"hello", metadata=word, timeout=20)
        fields = dict(call.initial_metadata())
        tell("metadata", [fields[name] for name in ("x-word", "x-bytes-bin", "x-server")])

        large = bytes(range(256)) * (64 << 10)
        tell("16 MiB", one(large, **acme) == large)
        calls = [one.future(b"%d" % number, **acme) for number in range(200)]
        came = [call.result() == b"%d" % number for number, call in enumerate(calls)]
        tell("200 at once", all(came))

        tell("failed", failure(lambda: one(b"fail", **acme)))
        tell("failed within", failure(lambda: down(b"2 fail", **acme)))
        tell("failed while asked", failure(lambda: both(iter([b"fail"]), **acme)))

        over = threading.Event()

        def endless():
            yield b"on"
            over.wait(20)

        call = both(endless(), **acme)
        next(call)
        call.cancel()
        tell("cancelled", call.code().name)
        over.set()

        late = {"metadata": [TENANT], "timeout": 0.2}
        tell("overdue", failure(lambda: one(b"wait", **late)))
        nobody = {"metadata": [("x-tenant-id", "nobody")], "timeout": 20}
        tell("nobody", failure(lambda: one(b"hello", **nobody)))
        tell("nobody's stream", failure(lambda: both(iter([b"hello"]), **nobody)))
        gone = {"metadata": [("x-tenant-id", "gone")], "timeout": 20}
        tell("gone", failure(lambda: one(b"hello", **gone)))
        tell("still here", one(b"hello", **acme))


if sys.argv[1] == "server":
    serve()
else:
    ask(sys.argv[2])
