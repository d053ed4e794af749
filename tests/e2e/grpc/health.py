"""A server of gRPC with the health service (grpc.health.v1) by grpcio, whose messages are bytes.

    health.py            prints its address; ends when its standard input does
        NAME STATUS      a line of the input: the service of this name has this status from now on, by its
                         number; - is the server as a whole
"""

import os
import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

statuses = {}


def check(message, context):
    # One field of text at most, of fewer than 128 bytes.
    service = message[2:].decode() if message else "-"
    if service not in statuses:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return bytes([0x08, statuses[service]])


server = grpc.server(ThreadPoolExecutor(4))
calls = {"Check": grpc.unary_unary_rpc_method_handler(check)}
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", calls),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print("127.0.0.1:%d" % port, flush=True)
for line in sys.stdin:
    name, status = line.split()
    statuses[name] = int(status)
os._exit(0)
