"""Jobs on a Ray cluster of two hosts: what travels between them, what that costs, and what a lost host costs.

``python -m tests.soak.hosts``: two network namespaces of this machine are the hosts. Between them lies a cable of the
test's own: `tc` limits either end to 100 Mbit/s, and what passes is held for half a millisecond each way, so that there
and back take one (not every kernel has the `netem` that could do it). The driver and the head are on the first host.
1, 2 and 4 workers do jobs that wait and take no core; then the second host is lost twice, its processes killed and its
cable cut. Needs root and Linux; takes about five minutes. Without the right to make namespaces it says so, and ends.

A host that is killed is known at once, since its kernel says so; one whose cable is cut says nothing, and is found out
by `qframe_rl.runner.executors` asking.
"""

from __future__ import annotations

import argparse
import fcntl
import json
import os
import secrets
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from qframe_rl.bench.executors import own_memory, wait
from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.runner.executors import Mute, RayExecutor

ADDRESSES = ("10.77.0.1", "10.77.0.2")
PORT = 6399
RATE, DELAY = "100mbit", 0.0005
"""Of the cable, either way: `tc`'s word, and seconds."""
_SHAPED = ("root", "tbf", "burst", "32kb", "latency", "50ms", "rate")
_TUNSETIFF, _TUN, _BARE = 0x400454CA, 0x0001, 0x1000
_ROOT = Path(__file__).resolve().parents[2]
_ITSELF = "tests.soak.hosts"
_LOST = ("killed", "cut")
_LATEST = 300.0
"""Seconds after which a driver is taken for hung."""
_SAID = "hosts: "
_READ = 8.0
"""Seconds for which a job keeps the bars: longer than they travel, so that no other host does it meanwhile."""
_TOKEN = secrets.token_hex(32)
"""What the nodes of a cluster know each other by; a head asks for one where its user ever had one."""


class Cable:
    """Two network interfaces, one for each host: what leaves one comes out of the other, a little later.

    It is moved by a thread of this process, which does nothing else while the hosts work.
    """

    def __init__(self, names: tuple[str, str]):
        self.ends = tuple(_interface(name) for name in names)
        self.carried = [0, 0]
        """Bytes that left the first host and the second, headers included."""
        self.whole, self.over = False, False
        """Whether it carries anything, and whether it is done with."""
        self.thread = threading.Thread(target=self._carry, daemon=True)
        self.thread.start()

    def _carry(self) -> None:
        under_way: deque[tuple[float, int, bytes]] = deque()
        while not self.over:
            soonest = under_way[0][0] - time.monotonic() if under_way else 0.05
            for end in select.select(self.ends, (), (), max(soonest, 0.0))[0]:
                side, packet = self.ends.index(end), os.read(end, 65536)
                if self.whole:
                    self.carried[side] += len(packet)
                    under_way.append((time.monotonic() + DELAY, 1 - side, packet))
            while under_way and under_way[0][0] <= time.monotonic():
                _, side, packet = under_way.popleft()
                os.write(self.ends[side], packet)

    def close(self) -> None:
        """Take it away; the interfaces go with it."""
        self.over = True
        self.thread.join()
        for end in self.ends:
            os.close(end)


def _interface(name: str) -> int:
    """Make a network interface whose packets a process reads and writes; it lives as long as its file is open."""
    end = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(end, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN | _BARE))
    return end


@contextmanager
def two_hosts() -> Iterator[tuple[tuple[str, str], Cable]]:
    """Names of two hosts, and the cable between them.

    Raises
    ------
    SystemExit
        In one sentence, where this machine does not let them be made.
    """
    if missing := [tool for tool in ("ip", "tc") if shutil.which(tool) is None]:
        raise SystemExit(f"hosts: {' and '.join(missing)} of iproute2 must be installed")
    hosts = (f"qf{os.getpid()}a", f"qf{os.getpid()}b")
    try:
        for host in hosts:
            _do("ip", "netns", "add", host)
        cable = Cable(hosts)
    except (subprocess.CalledProcessError, OSError) as error:
        _forget(hosts)
        said = error.stderr.strip() if isinstance(error, subprocess.CalledProcessError) else str(error)
        raise SystemExit(f"hosts: this machine lets no network namespaces be made; run it as root ({said})") from None
    try:
        for host, address, other in zip(hosts, ADDRESSES, ADDRESSES[::-1], strict=True):
            _plug_in(host, address, other)
        cable.whole = True
        yield hosts, cable
    finally:
        for host in hosts:
            end_all(host)
        cable.close()
        _forget(hosts)


def _plug_in(host: str, address: str, other: str) -> None:
    """Give a host its end of the cable, of the same name, and limit what leaves there."""
    _do("ip", "link", "set", host, "netns", host)
    _do("ip", "-n", host, "addr", "add", address, "peer", other, "dev", host)
    _do("ip", "-n", host, "link", "set", "lo", "up")
    _do("ip", "-n", host, "link", "set", host, "up")
    _do("ip", "-n", host, "route", "add", "default", "dev", host)
    _do("tc", "-n", host, "qdisc", "add", "dev", host, *_SHAPED, RATE)


def _do(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _forget(hosts: tuple[str, str]) -> None:
    for host in hosts:
        subprocess.run(["ip", "netns", "del", host], capture_output=True)


def end_all(host: str) -> None:
    """Kill what runs on a host, all of which this test began there."""
    for pid in _do("ip", "netns", "pids", host).split():
        os.kill(int(pid), signal.SIGKILL)


def begin(host: str, folder: str, *command: str, private: bool = False, **more: Any) -> subprocess.Popen[str]:
    """Begin a command of Python on a host; with ``private`` the folder is another one there, as on a machine apart."""
    own = os.environ | {"PYTHONPATH": str(_ROOT), "RAY_USAGE_STATS_ENABLED": "0"}
    own |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": _TOKEN}
    first = ["sh", "-c", f'mount -t tmpfs none {folder} && exec "$@"', "sh"] if private else []
    whole = ["ip", "netns", "exec", host, *first, sys.executable, *command]
    return subprocess.Popen(whole, cwd=_ROOT, env=own, text=True, **more)


def node(host: str, folder: str, cores: int, *, head: bool) -> None:
    """Begin Ray on a host, with so many cores."""
    address = ADDRESSES[0 if head else 1]
    place = ["--head", f"--port={PORT}", f"--temp-dir={folder}", "--include-dashboard=false"]
    joins = place if head else [f"--address={ADDRESSES[0]}:{PORT}"]
    sizes = [f"--num-cpus={cores}", "--object-store-memory=300000000", f"--node-ip-address={address}"]
    command = ["-m", "ray.scripts.scripts", "start", *joins, *sizes, "--disable-usage-stats"]
    said = begin(host, folder, *command, private=not head, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    text, _ = said.communicate(timeout=120)
    if said.returncode:
        raise SystemExit(f"hosts: Ray did not begin on {address}: {text.strip()[-500:]}")


def measured(workers: int, lost: str, jobs: int, seconds: float, bars: int) -> dict[str, float]:
    """One cluster of so many workers, from its beginning to its end.

    Parameters
    ----------
    workers
        1 is on the second host, of more every host has half.
    lost
        How the second host is lost in the midst of the jobs: ``killed``, ``cut``, or empty, not at all.
    jobs, seconds
        Jobs for each worker, and how long each waits.
    bars
        Of the sixteen coins that every worker reads.

    Returns
    -------
    dict
        What the driver measured, and MB (10^6 bytes) that left either host between its steps.
    """
    with two_hosts() as (hosts, cable), tempfile.TemporaryDirectory(prefix="qf", dir="/tmp") as folder:
        node(hosts[0], folder, workers // 2, head=True)
        node(hosts[1], folder, max(workers // 2, 1), head=False)
        asked = json.dumps({"lost": lost, "n": jobs * workers, "seconds": seconds, "bars": bars})
        driver = begin(hosts[0], folder, "-m", _ITSELF, "--driver", asked, stdout=subprocess.PIPE)
        late = threading.Timer(_LATEST, driver.kill)
        late.start()
        found = _heard(driver, cable, lost, hosts[1])
        late.cancel()
        if driver.wait():
            raise SystemExit(f"hosts: the driver of {workers} workers ended with {driver.returncode}")
    return found


def _heard(driver: subprocess.Popen[str], cable: Cable, lost: str, host: str) -> dict[str, float]:
    """What the driver says, step by step; the second host is lost when it asks for that."""
    assert driver.stdout is not None
    found, before = dict[str, float](), list(cable.carried)
    for line in driver.stdout:
        if not line.startswith(_SAID):  # Ray tells the driver's user of lost nodes, on the same stream
            continue
        step, _, number = line.removeprefix(_SAID).strip().partition("=")
        if step == "lose":
            cable.whole = lost != "cut"
            if lost == "killed":
                end_all(host)
            continue
        found[step] = float(number)
        for side, way in enumerate(("out", "in")):
            found[f"{step}_mb_{way}"] = (cable.carried[side] - before[side]) / 1e6
        before = list(cable.carried)
    return found


def drive(lost: str, n: int, seconds: float, bars: int) -> None:
    """The driver, on the first host: do the jobs, and say after each step how long it took."""
    history = synthetic("correlated", n_bars=bars, n_instruments=16)
    began = time.perf_counter()
    with RayExecutor(f"{ADDRESSES[0]}:{PORT}") as cluster:
        _say("join", time.perf_counter() - began)
        dict(cluster.run(wait, 0.0, list(range(8 * cluster.cores)), lambda _: Mute()))
        _say("warm", 0.0)
        if not lost:
            began = time.perf_counter()
            dict(cluster.run(own_memory, history, [_READ] * cluster.cores, lambda _: Mute()))
            _say("bars", time.perf_counter() - began - _READ)
            began = time.perf_counter()
            dict(cluster.run(wait, 0.0, list(range(200)), lambda _: Mute()))
            _say("empty", (time.perf_counter() - began) / 200)
        began, last, longest, done = time.perf_counter(), time.perf_counter(), 0.0, []
        for k, _ in cluster.run(wait, seconds, list(range(n)), lambda _: Mute()):
            done.append(k)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
            if lost and len(done) == n // 2:
                print(f"{_SAID}lose", flush=True)
        _say("jobs", time.perf_counter() - began)
        if sorted(done) != list(range(n)):
            raise SystemExit(f"hosts: of {n} jobs {len(set(done))} were done, {len(done)} results came")
        _say("longest", longest)


def _say(step: str, number: float) -> None:
    print(f"{_SAID}{step}={number}", flush=True)


def main() -> None:
    """Read the command line, measure, and hold the model against it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20, help="jobs for each worker")
    parser.add_argument("--seconds", type=float, default=1.0, help="that each waits")
    parser.add_argument("--bars", type=int, default=8 * 8760, help="of sixteen coins that every worker reads")
    parser.add_argument("--driver", type=json.loads, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.driver is not None:
        drive(**given.driver)
        return
    for workers, lost in ((1, ""), (2, ""), (4, ""), *((4, how) for how in _LOST)):
        found = measured(workers, lost, given.jobs, given.seconds, given.bars)
        n = given.jobs * workers
        # Of a host that is lost half way, half of the jobs that are left over and all that it had begun are done late.
        ideal = given.jobs * given.seconds * (1.5 if lost else 1.0)
        share = {"workers": workers, "ideal": ideal, "over": found["jobs"] / ideal}
        each = {way: found[f"jobs_mb_{way}"] / n * 1e3 for way in ("out", "in")}
        print(f"lost={lost or 'none'}", *(f"{k}={v:.4g}" for k, v in (share | found).items()))
        print(f"  a job: {each['out']:.2f} kB to the second host's side, {each['in']:.2f} kB back")


if __name__ == "__main__":
    main()
