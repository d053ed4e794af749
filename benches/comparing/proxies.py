"""The proxies and what is behind them: how each is set up, started and ended."""

import os
import ssl
import subprocess
import time
import urllib.error
import urllib.request

from comparing.loads import SMALL
from comparing.machine import Processes, certify, find, free_ports

UPSTREAM_NGINX = """
daemon off; worker_processes 1; pid {folder}/upstream.pid; error_log {folder}/upstream.log error;
events {{ worker_connections 4096; }}
http {{
  access_log off; server_tokens off; tcp_nodelay on; sendfile on; open_file_cache max=100;
  keepalive_timeout 300s; keepalive_requests 1000000000;
  client_body_temp_path {folder}/u1; proxy_temp_path {folder}/u2; fastcgi_temp_path {folder}/u3;
  uwsgi_temp_path {folder}/u4; scgi_temp_path {folder}/u5;
  server {{
    listen 127.0.0.1:{up1}; listen 127.0.0.1:{up2};{listens}
    client_max_body_size 64m; client_body_buffer_size 128k;
    location / {{ default_type text/plain; return 200 "{body}"; }}
    location /files/ {{ default_type text/plain; root {folder}; }}
  }}
}}
"""

PEER_NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/nginx.log error;
events {{ worker_connections 8192; multi_accept on; }}
http {{
  access_log off; server_tokens off; tcp_nodelay on;
  keepalive_timeout 300s; keepalive_requests 1000000000;
  client_body_temp_path {folder}/p1; proxy_temp_path {folder}/p2; fastcgi_temp_path {folder}/p3;
  uwsgi_temp_path {folder}/p4; scgi_temp_path {folder}/p5;
  map_hash_max_size 524288; map_hash_bucket_size 128;
  map $http_x_tenant_id $pool {{ default ""; include {folder}/nginx.map; }}
  upstream a {{
    server 127.0.0.1:{up1}; server 127.0.0.1:{up2};
    keepalive 256; keepalive_requests 1000000000; keepalive_timeout 300s;
  }}
  upstream b {{
    server 127.0.0.1:{up1}; server 127.0.0.1:{up2};
    keepalive 256; keepalive_requests 1000000000; keepalive_timeout 300s;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096{tls};
    location / {{
      if ($pool = "") {{ return 404; }}
      proxy_pass http://$pool; proxy_http_version 1.1;
      proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
"""

PEER_HAPROXY = """
global
  nbthread 1
  maxconn 8192
  no strict-limits
  ssl-default-bind-options ssl-min-ver TLSv1.3
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 300s
  timeout http-keep-alive 300s
  http-reuse always
  balance roundrobin
  option forwardfor
frontend fe
  bind 127.0.0.1:{port} backlog 4096{tls}
  http-request set-var(txn.pool) req.hdr(x-tenant-id),map_str({folder}/haproxy.map)
  http-request deny deny_status 404 unless {{ var(txn.pool) -m found }}
  use_backend %[var(txn.pool)]
backend a
  server u1 127.0.0.1:{up1} pool-low-conn 256
  server u2 127.0.0.1:{up2} pool-low-conn 256
backend b
  server u1 127.0.0.1:{up1} pool-low-conn 256
  server u2 127.0.0.1:{up2} pool-low-conn 256
"""

GATEWAY = """
routes = "{routes}"
state = "off"
workers = {workers}

[[listeners]]
address = "127.0.0.1:{port}"
{tls}
[admin]
address = "127.0.0.1:{admin}"

{more}
[log]
filter = "warn"

[access-log]
file = "access.log"
sample = "1%"

# wrk never opens its connections again
[downstream]
max-requests = 1000000000
"""

POOL = """
[pools.{name}]
endpoints = ["127.0.0.1:{up1}", "127.0.0.1:{up2}"]
health = {{ http = "/", interval = "2s", timeout = "500ms" }}
retry = {{ attempts = 3 }}
"""

# Written after each `listen`, `bind` and listener where TLS is spoken.
NGINX_TLS = (
    " ssl http2; ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;"
    " ssl_protocols TLSv1.3; ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256"
)
HAPROXY_TLS = " ssl crt {folder}/both.pem alpn h2,http/1.1 ciphersuites TLS_AES_128_GCM_SHA256"
GATEWAY_TLS = 'tls = {{ cert = "cert.pem", key = "key.pem" }}\n'


class Bench(Processes):
    """One upstream and the proxies in front of it, for one scenario."""

    def __init__(self, options, folder, scenario, binary):
        super().__init__(folder)
        self.options, self.scenario, self.binary = options, scenario, binary
        # further lines of gateway.toml, and of the routes
        self.more = ""
        # where the upstream listens besides
        self.upstream_addresses = []
        self.up1, self.up2 = free_ports(2)
        if scenario.tls:
            certify(folder)
        cores = sorted(os.sched_getaffinity(0))
        self.proxy_core = {cores[0]}
        self.load_cores = set(cores[1:2]) or {cores[0]}

    def write(self, name, template, **values):
        values = {"folder": self.folder, "up1": self.up1, "up2": self.up2, **values}
        path = self.folder / name
        path.write_text(template.format(**values))
        return str(path)

    def start_upstream(self):
        """Starts what answers, and tells by which path it has the scenario's size."""
        size = self.scenario.size
        if nginx := find("nginx"):
            listens = "".join(f" listen {address}:{self.up1};" for address in self.upstream_addresses)
            config = self.write("upstream.conf", UPSTREAM_NGINX, body="x" * SMALL, listens=listens)
            files = self.folder / "files"
            files.mkdir()
            files.chmod(0o755)
            (files / "body").write_bytes(b"x" * size)
            self.start([nginx, "-e", f"{self.folder}/upstream.log", "-c", config], self.load_cores)
            return "/" if size == SMALL else "/files/body"
        for name, port in (("one", self.up1), ("two", self.up2)):
            command = [self.binary, "demo-backend", "--name", name, "--port", str(port)]
            self.start(command, self.load_cores, stdin=subprocess.PIPE)
        return f"/?size={size}"

    def tenants(self, line, count=None):
        numbers = range(count or self.options.tenants)
        return "".join(line.format(tenant=f"t{number}", pool="ab"[number % 2]) for number in numbers)

    def tls(self, text):
        return text.format(folder=self.folder) if self.scenario.tls else ""

    def start_tenantry(self, port, admin, workers=1, cores=None):
        self.write_routes(self.options.tenants)
        config = self.configure(port, admin, "routes.toml", workers)
        return self.start([self.binary, "--config", config], cores or self.proxy_core)

    def start_with_routes(self, port, admin, name, routes):
        """A gateway with routes of its own."""
        (self.folder / name).write_text(routes)
        return self.start([self.binary, "--config", self.configure(port, admin, name)], self.proxy_core)

    def configure(self, port, admin, routes, workers=1):
        values = {"port": port, "admin": admin, "routes": routes, "workers": workers}
        values |= {"tls": self.tls(GATEWAY_TLS), "more": self.more}
        return self.write(f"gateway-{port}.toml", GATEWAY, **values)

    def write_routes(self, count, more=""):
        pools = [POOL.format(name=name, up1=self.up1, up2=self.up2) for name in "ab"]
        tenants = self.tenants('\n[tenants.{tenant}]\npool = "{pool}"\n', count)
        (self.folder / "routes.new").write_text("".join(pools) + more + tenants)
        (self.folder / "routes.new").replace(self.folder / "routes.toml")

    def edit_tenantry(self, count, process, port, path):
        """Gives the running gateway a table of this many tenants and waits until it is live."""
        self.write_routes(count)
        self.wait(f"Tenantry with {count} tenants", process, port, path, count)
        deadline = time.monotonic() + 15
        while self.knows(f"t{count}", port, path):
            if time.monotonic() > deadline:
                raise SystemExit(f"the table of {count} tenants does not get live")
            time.sleep(0.05)
        # until the old table is gone and the workers have counted into the new one
        time.sleep(1)

    def knows(self, tenant, port, path):
        try:
            self.fetch(tenant, port, path)
        except urllib.error.HTTPError:
            return False
        return True

    def fetch(self, tenant, port, path):
        scheme = "https" if self.scenario.tls else "http"
        url = f"{scheme}://127.0.0.1:{port}{path}"
        request = urllib.request.Request(url, headers={"X-Tenant-ID": tenant})
        # the certificate was made for this run
        context = ssl._create_unverified_context() if self.scenario.tls else None
        with urllib.request.urlopen(request, timeout=2, context=context) as answer:
            return answer.read()

    def start_nginx(self, program, port):
        (self.folder / "nginx.map").write_text(self.tenants("{tenant} {pool};\n"))
        config = self.write("nginx.conf", PEER_NGINX, port=port, tls=self.tls(NGINX_TLS))
        return self.start([program, "-e", f"{self.folder}/nginx.log", "-c", config], self.proxy_core)

    def start_haproxy(self, program, port):
        (self.folder / "haproxy.map").write_text(self.tenants("{tenant} {pool}\n"))
        config = self.write("haproxy.cfg", PEER_HAPROXY, port=port, tls=self.tls(HAPROXY_TLS))
        return self.start([program, "-db", "-f", config], self.proxy_core)

    def wait(self, name, process, port, path, count=None):
        """Waits until a proxy answers 200 to its first and its last tenant."""
        deadline = time.monotonic() + 15
        wanted = ["t0", f"t{(count or self.options.tenants) - 1}"]
        while wanted:
            try:
                body = self.fetch(wanted[0], port, path)
                if len(body) != self.scenario.size:
                    raise SystemExit(f"{name} answers {len(body)} bytes, not {self.scenario.size}")
                wanted.pop(0)
                continue
            except (urllib.error.URLError, OSError) as error:
                last = error
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} does not serve ({last}); the logs:\n{self.logs()}")
            time.sleep(0.05)
