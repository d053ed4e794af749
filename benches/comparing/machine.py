"""Processes and what they take, and what names a measurement: versions and the machine."""

import contextlib
import ctypes
import fcntl
import os
import platform
import resource
import shutil
import signal
import socket
import struct
import subprocess
import time
import urllib.request
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
CALLED = {"tenantry": "Tenantry", "nginx": "nginx", "haproxy": "HAProxy", "envoy": "Envoy"}
# of those that do not by -v
TELLS_VERSION = {"envoy": "--version"}


def find(program):
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def own_network():
    """Gives this process, and those that it starts, a network of their own, which ends with the last of them and has
    the loopback interface alone. Tells why not, where the machine does not allow it."""
    # unshare(2); Python has it from 3.12 on
    user, network = 0x10000000, 0x40000000
    root, (uid, gid) = os.geteuid() == 0, (os.geteuid(), os.getegid())
    library = ctypes.CDLL(None, use_errno=True)
    if library.unshare(network if root else network | user):
        return os.strerror(ctypes.get_errno())
    if not root:
        for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
            Path("/proc/self", name).write_text(text)
    # netdevice(7): SIOCSIFFLAGS with IFF_UP
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, 0x8914, struct.pack("16sH14x", b"lo", 1))
    return None


def metrics_of(admin):
    """What a gateway tells of itself at the port of its admin API."""
    with urllib.request.urlopen(f"http://127.0.0.1:{admin}/metrics", timeout=10) as answer:
        return answer.read().decode()


def open_many_files():
    """Lets this process, and those that it starts, hold as many as the machine allows, and tells how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Processes:
    """What a measurement starts, logs in a folder of its own, and ends."""

    def __init__(self, folder):
        self.folder, self.started = folder, []

    def start(self, command, cores=None, **options):
        """Starts a process on these cores, or on all; `stop` ends it."""
        with open(self.folder / f"process-{len(self.started)}.log", "wb") as log:
            process = subprocess.Popen(
                command,
                stdin=options.get("stdin", subprocess.DEVNULL),
                stdout=log,
                stderr=log,
                preexec_fn=None if cores is None else lambda: os.sched_setaffinity(0, cores),
            )
        self.started.append(process)
        return process

    def stop(self):
        for process in reversed(self.started):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def logs(self):
        return "".join(path.read_text() for path in sorted(self.folder.glob("process-*.log")))[-4000:]

    def wait_until_open(self, name, process, port):
        """Waits until somebody listens at a port."""
        for _ in range(300):
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                return
            time.sleep(0.05)
        raise SystemExit(f"{name} does not serve; the logs:\n{self.logs()}")


def process_tree(root):
    """The ids of a process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
    tree = {root}
    while more := {pid for pid, parent in parents.items() if parent in tree} - tree:
        tree |= more
    return tree


def cpu_seconds(root):
    ticks = 0
    for pid in process_tree(root):
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        # user and system time, and that of children that have ended
        ticks += sum(int(field) for field in fields[11:15])
    return ticks / TICKS


def resident_bytes(root):
    """The memory of a process and all that descend from it."""
    pages = 0
    for pid in process_tree(root):
        try:
            pages += int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        except OSError:
            continue
    return pages * os.sysconf("SC_PAGE_SIZE")


def named(binary, peers=("nginx", "haproxy")):
    """What was measured, and where, a line each."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].split(":", 1)[1].strip() if models else platform.machine()
    cores = len(os.sched_getaffinity(0))
    programs = [[binary, "--version"], ["rustc", "--version"]]
    programs += [[program, TELLS_VERSION.get(name, "-v")] for name in peers if (program := find(name))]
    return [f"{model}, {cores} cores, Linux {platform.release()}", *map(version, programs)]


def version(command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].removeprefix("nginx version: ").replace(command[0], Path(command[0]).name) if lines else f"{command[0]}: no version"


def certify(folder):
    """A throw-away certificate; who it is for does not matter to the load."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-keyout", folder / "key.pem", "-out", folder / "cert.pem", "-days", "30"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(command, check=True, capture_output=True)
    both = (folder / "cert.pem").read_text() + (folder / "key.pem").read_text()
    (folder / "both.pem").write_text(both)
