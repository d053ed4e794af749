"""Ten endpoints behind each proxy, set up against faults as its own documents tell."""

import csv
import dataclasses
import json
from typing import Callable

from comparing.breakage import CHECK, TENANT, text
from comparing.machine import CALLED, find
from comparing.proxies import GATEWAY
from comparing.sharing import address, typed

# As docs/faults.md sets the pool up: checks each 500 ms within 250 ms, each tenth of a second while something is
# wrong, two in a row decide; 250 ms to connect, 500 ms an attempt, 5 s in all; out after 5 failures in a row.
POOL = """
[pools.app]
endpoints = {endpoints}
health = {{ http = "{check}", interval = "500ms", fast-interval = "100ms", timeout = "250ms", rise = 2, fall = 2 }}
timeouts = {{ connect = "250ms", attempt = "500ms", total = "5s" }}
eject = {{ failures = 5, base = "1s" }}
{more}
[tenants.{tenant}]
pool = "app"
"""
HEDGES = 'balance = "peak-ewma"\nretry = { hedge = {} }\n'

# `leastconn` is the one of its balancers that goes round a slow endpoint. `redispatch 1`: each retry goes to another
# server. What may not be repeated is tried again only where it was not sent.
HAPROXY = """
global
  nbthread 1
  maxconn 8000
  no strict-limits
defaults
  mode http
  timeout connect 250ms
  timeout server 500ms
  timeout check 250ms
  timeout queue 5s
  timeout client 30s
  timeout http-keep-alive 60s
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend app
frontend status
  bind 127.0.0.1:{admin}
  stats enable
  stats uri /
backend app
  balance leastconn
  retries 3
  option redispatch 1
  retry-on conn-failure empty-response response-timeout 503
  http-request disable-l7-retry unless METH_GET
  option httpchk GET {check}
  default-server check inter 500ms fastinter 100ms rise 2 fall 2 observe layer7 error-limit 5 on-error mark-down
{servers}
"""


@dataclasses.dataclass(frozen=True)
class Way:
    """A program that is set up in one way."""

    program: str
    about: str
    # writes what the program reads into a folder, and tells the command that starts it
    prepare: Callable
    # where it says which endpoints it uses, and who reads that
    status: str
    used: Callable

    def __str__(self):
        return f"{CALLED[self.program]}, {self.about}"


def tenantry(more):
    def prepare(program, folder, port, admin, addresses):
        values = {"check": CHECK, "tenant": TENANT, "more": more}
        (folder / "routes.toml").write_text(POOL.format(endpoints=json.dumps(list(map(text, addresses))), **values))
        values = {"port": port, "admin": admin, "workers": 1, "routes": "routes.toml", "tls": "", "more": ""}
        (folder / "gateway.toml").write_text(GATEWAY.format(**values))
        return [program, "--config", str(folder / "gateway.toml")]

    return prepare


def used_by_tenantry(said):
    return {member["address"] for member in json.loads(said)[0]["members"] if member["eligible"]}


def haproxy(program, folder, port, admin, addresses):
    servers = "\n".join(f"  server {each} {each}" for each in map(text, addresses))
    (folder / "haproxy.cfg").write_text(HAPROXY.format(port=port, admin=admin, check=CHECK, servers=servers))
    return [program, "-db", "-f", str(folder / "haproxy.cfg")]


def used_by_haproxy(said):
    rows = csv.DictReader(said.removeprefix("# ").splitlines())
    return {row["svname"] for row in rows if row["pxname"] == "app" and row["status"].startswith("UP")} - {"BACKEND"}


def envoy(program, folder, port, admin, addresses):
    (folder / "envoy.json").write_text(json.dumps(envoy_bootstrap(port, admin, addresses)))
    options = ["--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    return [program, "-c", str(folder / "envoy.json"), *options]


def envoy_bootstrap(port, admin, addresses):
    post = {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]}
    # what may not be repeated is tried again only where it was not sent
    routes = [
        {"match": post, "route": envoy_route("connect-failure,refused-stream")},
        {"match": {"prefix": "/"}, "route": envoy_route("reset,connect-failure,refused-stream,retriable-status-codes")},
    ]
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="in",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
        http_filters=[typed("envoy.filters.http.router", "extensions.filters.http.router.v3.Router")],
    )
    listener = {"name": "in", "address": address(port), "filter_chains": [{"filters": [manager]}]}
    return {
        "admin": {"address": address(admin)},
        "static_resources": {"listeners": [listener], "clusters": [envoy_cluster(addresses)]},
    }


def envoy_route(conditions):
    other_host = typed(
        "envoy.retry_host_predicates.previous_hosts", "extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"
    )
    policy = {
        "retry_on": conditions,
        "retriable_status_codes": [503],
        "num_retries": 3,
        "per_try_timeout": "0.5s",
        "retry_host_predicate": [other_host],
        "host_selection_retry_max_attempts": 5,
    }
    return {"cluster": "app", "timeout": "5s", "retry_policy": policy}


def envoy_cluster(addresses):
    check = {
        "interval": "0.5s",
        "no_traffic_interval": "0.5s",
        "unhealthy_edge_interval": "0.1s",
        "healthy_edge_interval": "0.1s",
        "timeout": "0.25s",
        "healthy_threshold": 2,
        "unhealthy_threshold": 2,
        "http_health_check": {"path": CHECK},
    }
    endpoints = [{"endpoint": {"address": address(port, host)}} for host, port in addresses]
    return {
        "name": "app",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "health_checks": [check],
        # the time of an ejection is over at an interval
        "outlier_detection": {"consecutive_5xx": 5, "interval": "0.5s", "base_ejection_time": "1s"},
        "circuit_breakers": {"thresholds": [{"retry_budget": {"budget_percent": {"value": 20}}}]},
        "load_assignment": {"cluster_name": "app", "endpoints": [{"lb_endpoints": endpoints}]},
    }


def used_by_envoy(said):
    used = set()
    for host in json.loads(said)["cluster_statuses"][0]["host_statuses"]:
        where, health = host["address"]["socket_address"], host["health_status"]
        if not any(flag is True for flag in health.values()):
            used.add(text((where["address"], where["port_value"])))
    return used


OURS = "tenantry"
PLAIN = Way(OURS, "checks, ejection, retries", tenantry(""), "/api/v1/pools", used_by_tenantry)
HEDGING = Way(OURS, "and hedging, `peak-ewma`", tenantry(HEDGES), "/api/v1/pools", used_by_tenantry)
PEERS = (
    Way("haproxy", "checks, `observe`, `retry-on`", haproxy, "/;csv", used_by_haproxy),
    Way("envoy", "checks, outlier detection, retries", envoy, "/clusters?format=json", used_by_envoy),
)
PROGRAMS = tuple(way.program for way in PEERS)


def ways(binary, peers, found=find):
    """What is to be measured, each with its program; and the peers that are not there."""
    programs = {way: found(way.program) for way in PEERS if way.program in peers}
    there = [(way, program) for way, program in programs.items() if program]
    return [(PLAIN, binary), (HEDGING, binary), *there], [way.program for way, program in programs.items() if not program]
