"""Ways to share a pool of limited capacity between tenants, of each proxy as its own documents tell them."""

import dataclasses
import json
import math
from typing import Callable

from comparing.machine import CALLED, find
from comparing.proxies import GATEWAY

TENANT = "X-Tenant-ID"
POOL = """
[pools.app]
endpoints = ["127.0.0.1:{backend}"]
{limits}
"""

# `strict-limits` would have it refuse to start where fewer files may be open
HAPROXY = """
global
  nbthread {workers}
  maxconn 15000
  no strict-limits
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout http-keep-alive 60s
  timeout queue {wait}s
frontend in
  bind 127.0.0.1:{port} backlog 4096
{rules}  default_backend app
backend app
  server one 127.0.0.1:{backend} maxconn {places}
backend tenants
  stick-table type string len 64 size 100k expire 10s store http_req_rate(1s),gpc0_rate(1s)
"""
TRACKED = f"  http-request track-sc0 req.hdr({TENANT}) table tenants\n"
# Only requests that go on are counted. With http_req_rate, which counts those that are denied as
# well, a tenant that never stops would get nothing at all.
RATED = (
    TRACKED
    + "  http-request deny deny_status 429 if {{ sc_gpc0_rate(0) ge {share} }}\n  http-request sc-inc-gpc0(0)\n"
)
# Who asks for more than its share waits behind all others, and only so many of those.
PRIORITISED = (
    TRACKED
    + "  http-request set-priority-class int(1) if {{ sc_http_req_rate(0) gt {share} }}\n"
    + "  http-request deny deny_status 503 if {{ sc_http_req_rate(0) gt {share} }} {{ queue(app) ge {length} }}\n"
)

ENVOY = "type.googleapis.com/envoy"


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is the same for all of them."""

    tenants: tuple
    # of the endpoint, and the milliseconds that a request takes one
    places: int
    takes: int
    # seconds that a request may wait for a place
    wait: int
    workers: int
    # of a tenant's requests, those that may wait where only so many may
    length: int = 50

    @property
    def capacity(self):
        """Requests a second."""
        return self.places * 1e3 / self.takes

    @property
    def share(self):
        """Requests a second of each tenant, if all of them have equally many."""
        return max(1, round(self.capacity / len(self.tenants)))


@dataclasses.dataclass(frozen=True)
class Way:
    """A program that is set up in one way."""

    program: str
    about: str
    # writes what the program reads into a folder, and tells the command that starts it
    prepare: Callable

    def __str__(self):
        return f"{CALLED[self.program]}, {self.about}"


def tenantry(limited):
    def prepare(program, folder, setting, port, admin, backend):
        limits = f'concurrency = {setting.places}\nqueue = {{ length = {setting.length}, wait = "{setting.wait}s" }}'
        tenants = "".join(f'[tenants.{tenant}]\npool = "app"\n' for tenant in setting.tenants)
        pool = POOL.format(backend=backend, limits=limits if limited else "")
        (folder / "routes.toml").write_text(pool + tenants)
        values = {"port": port, "admin": admin, "workers": setting.workers}
        (folder / "gateway.toml").write_text(GATEWAY.format(routes="routes.toml", tls="", more="", **values))
        return [program, "--config", str(folder / "gateway.toml")]

    return prepare


def haproxy(rules):
    def prepare(program, folder, setting, port, _admin, backend):
        values = {"workers": setting.workers, "wait": setting.wait, "places": setting.places}
        told = rules.format(share=setting.share, length=setting.length)
        (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, backend=backend, rules=told, **values))
        return [program, "-db", "-f", str(folder / "haproxy.cfg")]

    return prepare


def envoy(rated=False, apart=False):
    def prepare(program, folder, setting, port, _admin, backend):
        (folder / "envoy.json").write_text(json.dumps(envoy_bootstrap(setting, port, backend, rated, apart)))
        # its maintainers advise one worker where a low limit has to hold: each holds connections of its own
        options = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        return [program, "-c", str(folder / "envoy.json"), *options]

    return prepare


def envoy_bootstrap(setting, port, backend, rated, apart):
    names, places = (setting.tenants, setting.places // len(setting.tenants)) if apart else (("app",), setting.places)
    # How long a request waits is bounded by how many do. A time-out would be counted from its beginning,
    # so that those that waited for long would be given up while the endpoint works on them.
    route = {"cluster_header": TENANT} if apart else {"cluster": "app"}
    host = {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
    filters = [envoy_rates(setting)] if rated else []
    filters.append(typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router"))
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="in",
        route_config={"virtual_hosts": [host]},
        http_filters=filters,
    )
    listener = {"name": "in", "address": address(port), "filter_chains": [{"filters": [manager]}]}
    clusters = [envoy_cluster(name, max(1, places), setting, backend) for name in names]
    return {"static_resources": {"listeners": [listener], "clusters": clusters}}


def envoy_cluster(name, places, setting, backend):
    # as many may wait as have a turn within the wait
    waiting = math.ceil(setting.wait * places * 1e3 / setting.takes)
    breakers = {"max_connections": places, "max_pending_requests": waiting}
    endpoint = {"endpoint": {"address": address(backend)}}
    return {
        "name": name,
        "connect_timeout": "5s",
        "circuit_breakers": {"thresholds": [breakers]},
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def envoy_rates(setting):
    """A bucket for each tenant, made when its first request comes: the entry has no value."""
    bucket = {"max_tokens": setting.share, "tokens_per_fill": setting.share, "fill_interval": "1s"}
    # who names no tenant has none of this
    others = {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return typed(
        "envoy.filters.http.local_ratelimit",
        "extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
        stat_prefix="rates",
        token_bucket=others,
        filter_enabled=always,
        filter_enforced=always,
        descriptors=[{"entries": [{"key": "tenant"}], "token_bucket": bucket}],
        rate_limits=[{"actions": [{"request_headers": {"header_name": TENANT, "descriptor_key": "tenant"}}]}],
    )


def typed(name, kind, **fields):
    return {"name": name, "typed_config": {"@type": f"{ENVOY}.{kind}", **fields}}


def address(port, host="127.0.0.1"):
    return {"socket_address": {"address": host, "port_value": port}}


OURS = "tenantry"
FAIR = Way(OURS, "`concurrency`", tenantry(limited=True))
UNLIMITED = Way(OURS, "nothing is limited", tenantry(limited=False))
PEERS = (
    Way("haproxy", "`maxconn`, one queue", haproxy("")),
    Way("haproxy", "`maxconn`, a rate for each tenant", haproxy(RATED)),
    Way("haproxy", "`maxconn`, the queue by priority", haproxy(PRIORITISED)),
    Way("envoy", "circuit breakers", envoy()),
    Way("envoy", "circuit breakers, a rate for each tenant", envoy(rated=True)),
    Way("envoy", "a cluster for each tenant", envoy(apart=True)),
)
PROGRAMS = tuple(dict.fromkeys(way.program for way in PEERS))


def ways(binary, peers, without, found=find):
    """What is to be measured, each with its program; and the peers that are not there."""
    chosen = [(FAIR, binary)] + [(UNLIMITED, binary)] * without
    missing = []
    for name in peers:
        if program := found(name):
            chosen += [(way, program) for way in PEERS if way.program == name]
        else:
            missing.append(name)
    return chosen, missing
