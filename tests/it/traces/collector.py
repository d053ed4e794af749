"""A strict collector: OTLP over HTTP and gRPC, and Zipkin v2. It decodes what it gets by the messages
that OpenTelemetry publishes for Python, holds each span against the rules, and tells one JSON object a
line: first its ports, then each batch that it took, and each fault that it found.

It does what the lines of its standard input say: "busy N SECONDS" has it say so N times, "refuse N"
and "reject N" likewise (reject: it takes all spans but one), "hang" never to answer again, "drop N"
to close connections without an answer."""

import ipaddress
import json
import pathlib
import queue
import re
import ssl
import sys
import threading
import time
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as service
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as stubs
from opentelemetry.proto.trace.v1 import trace_pb2 as proto

telling = threading.Lock()
orders = queue.Queue()
hanging = threading.Event()


def tell(**what):
    with telling:
        print(json.dumps(what), flush=True)


class Fault(Exception):
    pass


def must(holds, what):
    if not holds:
        raise Fault(what)


HOUR = 3600 * 10**9


def conventions():
    """The names of attributes that OpenTelemetry publishes, and whether they are still to be used; and
    the versions of its schemas. They are read as text: what their package is built on need not be there."""
    folder = pathlib.Path(service.__file__).parents[4] / "semconv"
    names = {}
    constant = r'^[A-Z0-9_]+: Final = "([^"]+)"\n(?:"""\s*(Deprecated:))?'
    for file in sorted(folder.glob("**/*_attributes.py")):
        for name, old in re.findall(constant, file.read_text(), re.MULTILINE):
            names[name] = "deprecated" if old else "current"
    schemas = re.findall('"(https://opentelemetry.io/schemas/[^"]+)"', (folder / "schemas.py").read_text())
    if len(names) < 300 or not schemas:
        raise RuntimeError("tests/run installs the conventions")
    return names, set(schemas)


CONVENTIONS, SCHEMAS = conventions()


def check_family(spans):
    """What holds for spans of one batch: whole traces, each a tree whose times nest."""
    by_id = {(span["trace"], span["id"]): span for span in spans}
    must(len(by_id) == len(spans), "a span id is there twice")
    now = time.time_ns()
    for span in spans:
        must(span["name"], f"no name: {span}")
        must(span["start"] <= span["end"], f"it ends before it starts: {span}")
        must(now - HOUR < span["start"] <= now, f"it is not of now: {span}")
        must(span["end"] <= now + 10**9, f"it ends in the future: {span}")
        must(span["parent"] != span["id"], f"it is its own parent: {span}")
        for at in span["events"].values():
            must(span["start"] <= at <= span["end"], f"an event is outside of it: {span}")
        have = span["attributes"]
        needs = {
            "SERVER": ["http.request.method", "url.scheme", "url.path", "network.protocol.version"],
            "CLIENT": ["http.request.method", "server.address", "server.port", "url.full"],
        }
        for name in needs.get(span["kind"], []):
            must(name in have, f"{name} is missing: {span}")
        for name in have:
            is_zipkins = name in ("error", "otel.status_code")
            must(name.startswith("tenantry.") or is_zipkins or CONVENTIONS.get(name) == "current",
                 f"the conventions have {name} as {CONVENTIONS.get(name)}")
        must(span["error"] is None or have.get("error.type"), f"no error.type: {span}")
        if span["kind"] == "SERVER":
            continue
        above = by_id.get((span["trace"], span["parent"]))
        must(above, f"its parent is not there: {span}")
        must(above["start"] <= span["start"], f"it starts before its parent: {span} {above}")
        must(span["end"] <= above["end"], f"it ends after its parent: {span} {above}")
    for trace in {span["trace"] for span in spans}:
        kinds = [span["kind"] for span in spans if span["trace"] == trace]
        must("SERVER" in kinds, f"{trace} has no server's span")


def value_of(value):
    kind = value.WhichOneof("value")
    must(kind in ("string_value", "int_value"), f"a value of the kind {kind}")
    return getattr(value, kind)


def attributes_of(pairs):
    attributes = {pair.key: value_of(pair.value) for pair in pairs}
    must(len(attributes) == len(pairs), "an attribute is there twice")
    must(all(attributes), "an attribute has no name")
    return attributes


def spans_of_otlp(request):
    known = type(request)()
    known.CopyFrom(request)
    known.DiscardUnknownFields()
    must(known.ByteSize() == request.ByteSize(), "it has fields that nobody knows")
    spans = []
    for resource in request.resource_spans:
        about = attributes_of(resource.resource.attributes)
        must(resource.schema_url in SCHEMAS, f"the schema {resource.schema_url}")
        must(all(CONVENTIONS.get(name) == "current" for name in about), f"a resource of {about}")
        for scope in resource.scope_spans:
            must(scope.scope.name == "tenantry", "the scope has no name")
            for span in scope.spans:
                must(len(span.trace_id) == 16 and any(span.trace_id), "a bad trace id")
                must(len(span.span_id) == 8 and any(span.span_id), "a bad span id")
                parent = span.parent_span_id
                must(parent == b"" or (len(parent) == 8 and any(parent)), "a bad parent id")
                must(not span.status.message or span.status.code == proto.Status.STATUS_CODE_ERROR,
                     "only an error has a message")
                must(bool(span.flags & 0x100) == bool(parent), "whether the parent is remote")
                must(bool(span.flags & 0x200) == bool(parent and span.kind == 2), "remote")
                must(span.flags & 0xff == 1, "it is exported and not sampled")
                kind = proto.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_")
                must(kind in ("SERVER", "CLIENT", "INTERNAL"), f"the kind {kind}")
                error = span.status.code == proto.Status.STATUS_CODE_ERROR
                spans.append({
                    "trace": span.trace_id.hex(), "id": span.span_id.hex(),
                    "parent": parent.hex() or None, "name": span.name, "kind": kind,
                    "state": span.trace_state, "start": span.start_time_unix_nano,
                    "end": span.end_time_unix_nano, "attributes": attributes_of(span.attributes),
                    "events": {event.name: event.time_unix_nano for event in span.events},
                    "error": error_of(span) if error else None,
                    "service": about["service.name"],
                })
    return spans


def error_of(span):
    """What a status of HTTP says already is not said again (semantic conventions for HTTP spans)."""
    message = span.status.message
    must(not message.isdigit(), "the message is a status of HTTP")
    return message or attributes_of(span.attributes)["error.type"]


ZIPKIN = {"traceId", "id", "parentId", "kind", "name", "timestamp", "duration", "localEndpoint",
          "remoteEndpoint", "annotations", "tags", "debug", "shared"}


def check_endpoint(endpoint):
    must(set(endpoint) <= {"serviceName", "ipv4", "ipv6", "port"}, f"an endpoint: {endpoint}")
    for name, kind in (("ipv4", ipaddress.IPv4Address), ("ipv6", ipaddress.IPv6Address)):
        if name in endpoint:
            kind(endpoint[name])
    must(0 < endpoint.get("port", 1) < 65536, f"a port: {endpoint}")


def spans_of_zipkin(batch):
    must(isinstance(batch, list) and batch, "no list of spans")
    spans = []
    for span in batch:
        must(set(span) <= ZIPKIN, f"a key that nobody knows: {span}")
        must(re.fullmatch("[0-9a-f]{16}|[0-9a-f]{32}", span["traceId"]), f"a bad trace id: {span}")
        for name in ("id", "parentId"):
            must(re.fullmatch("[0-9a-f]{16}", span.get(name, "f" * 16)), f"a bad {name}: {span}")
        must(any(digit != "0" for digit in span["id"]), f"a span of zeros: {span}")
        must(span.get("kind", "CLIENT") in ("CLIENT", "SERVER"), f"a bad kind: {span}")
        for name in ("timestamp", "duration"):
            must(type(span[name]) is int and span[name] > 0, f"a bad {name}: {span}")
        must(not span.get("shared"), f"a span that two share: {span}")
        must(span["localEndpoint"]["serviceName"], f"no service: {span}")
        check_endpoint(span["localEndpoint"])
        check_endpoint(span.get("remoteEndpoint", {}))
        must(all(type(value) is str for value in span["tags"].values()), f"a tag: {span}")
        for note in span.get("annotations", []):
            must(set(note) == {"timestamp", "value"} and note["value"], f"a note: {span}")
        start = span["timestamp"] * 1000
        spans.append({
            "trace": span["traceId"], "id": span["id"], "parent": span.get("parentId"),
            "name": span["name"], "kind": span.get("kind", "INTERNAL"), "state": "",
            "start": start, "end": start + span["duration"] * 1000, "attributes": span["tags"],
            "events": {note["value"]: note["timestamp"] * 1000
                       for note in span.get("annotations", [])},
            "error": span["tags"].get("error"), "service": span["localEndpoint"]["serviceName"],
            "debug": span.get("debug", False),
        })
    return spans


def loose(spans):
    """Zipkin's microseconds cut off up to one at each end."""
    for span in spans:
        for child in spans:
            if child["parent"] == span["id"]:
                span["end"] = max(span["end"], min(child["end"], span["end"] + 2000))
        for name, at in span["events"].items():
            span["events"][name] = min(at, span["end"])
    return spans


def order():
    """What to do with the next request, in place of taking it."""
    if hanging.is_set():
        threading.Event().wait()
    try:
        return orders.get_nowait()
    except queue.Empty:
        return None


def take(via, spans, fields):
    try:
        check_family(spans)
    except Fault as fault:
        tell(fault=str(fault))
    tell(via=via, spans=spans, fields=fields)


class Http(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        fields = {name.lower(): value for name, value in self.headers.items()}
        what = order()
        if what and what[0] == "drop":
            self.close_connection = True
            return
        if what and what[0] == "busy":
            return self.answer(503, b"busy", {"Retry-After": what[1]})
        if what and what[0] == "refuse":
            return self.answer(400, b"I do not like it", {"Content-Type": "text/plain"})
        try:
            if self.path == "/v1/traces":
                must(fields["content-type"] == "application/x-protobuf", "the content type")
                spans = spans_of_otlp(service.ExportTraceServiceRequest.FromString(body))
                take("otlp-http", spans, fields)
                self.answer(200, answer_of(what), {"Content-Type": "application/x-protobuf"})
            elif self.path == "/api/v2/spans":
                must(fields["content-type"] == "application/json", "the content type")
                take("zipkin", loose(spans_of_zipkin(json.loads(body))), fields)
                self.answer(202, b"", {})
            else:
                raise Fault(f"the path {self.path}")
        except Exception as fault:
            tell(fault=repr(fault))
            self.answer(400, b"", {})

    def answer(self, status, body, headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def answer_of(what):
    answer = service.ExportTraceServiceResponse()
    if what and what[0] == "reject":
        answer.partial_success.rejected_spans = 1
        answer.partial_success.error_message = "one too many"
    return answer.SerializeToString()


def field(number, data):
    """A field of bytes, as protobuf writes it."""
    return bytes([number << 3 | 2, len(data)]) + data


def wait(seconds):
    """google.rpc.Status with a RetryInfo, whose package this machine need not have."""
    info = field(1, bytes([1 << 3, int(seconds)]) if int(seconds) else b"")
    name = b"type.googleapis.com/google.rpc.RetryInfo"
    return field(3, field(1, name) + field(2, info))


class Grpc(stubs.TraceServiceServicer):
    def Export(self, request, context):
        what = order()
        if what and what[0] == "drop":
            context.abort(grpc.StatusCode.UNAVAILABLE, "going")
        if what and what[0] == "busy":
            context.set_trailing_metadata((("grpc-status-details-bin", wait(what[1])),))
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
        if what and what[0] == "refuse":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "I do not like it")
        try:
            take("otlp-grpc", spans_of_otlp(request), dict(context.invocation_metadata()))
        except Exception as fault:
            tell(fault=repr(fault))
        return service.ExportTraceServiceResponse.FromString(answer_of(what))


def main(certificate=None, key=None):
    http = ThreadingHTTPServer(("127.0.0.1", 0), Http)
    http.daemon_threads = True
    server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    stubs.add_TraceServiceServicer_to_server(Grpc(), server)
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        http.socket = context.wrap_socket(http.socket, server_side=True)
        with open(certificate, "rb") as chain, open(key, "rb") as secret:
            own = grpc.ssl_server_credentials([(secret.read(), chain.read())])
        port = server.add_secure_port("127.0.0.1:0", own)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    threading.Thread(target=http.serve_forever, daemon=True).start()
    tell(http=http.server_address[1], grpc=port)
    for line in sys.stdin:
        word, *rest = line.split()
        if word == "hang":
            hanging.set()
        else:
            for _ in range(int(rest[0])):
                orders.put([word, *rest[1:]])
        tell(heard=word)
    server.stop(None)
    http.server_close()


main(*sys.argv[1:])
