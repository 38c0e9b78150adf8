"""Two hosts of network namespaces: where they cannot be made, one sentence says so, and nothing is left behind."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess

import pytest

from tests.soak import hosts


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda tool: None if tool == "tc" else f"/sbin/{tool}")
    with pytest.raises(SystemExit, match="tc of iproute2 must be installed"), hosts.two_hosts():
        pass


@pytest.mark.skipif(shutil.which("ip") is None or shutil.which("tc") is None, reason="iproute2 is not installed")
def test_a_machine_that_forbids_it_is_told_of_in_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*command: str) -> str:
        raise subprocess.CalledProcessError(1, command, stderr="mount --make-shared /run/netns failed: denied\n")

    monkeypatch.setattr(hosts, "_do", refused)
    with pytest.raises(SystemExit, match=r"run it as root \(mount .* denied\)"), hosts.two_hosts():
        pass


def test_the_cable_carries_a_little_later_what_leaves_one_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datagrams over a pair of sockets stand for packets; a cable that is cut swallows them."""
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2)]
    ends = iter([os.dup(near.fileno()) for near, _ in pairs])
    monkeypatch.setattr(hosts, "_interface", lambda name: next(ends))
    cable, (_, left), (_, right) = hosts.Cable(("a", "b")), *pairs
    right.settimeout(10.0)
    cable.whole = True
    left.send(b"twelve bytes")
    assert right.recv(64) == b"twelve bytes" and cable.carried == [12, 0]
    cable.whole = False
    left.send(b"lost")
    right.settimeout(0.2)
    with pytest.raises(TimeoutError):
        right.recv(64)
    assert cable.carried == [12, 0]
    cable.close()
    for one in (*pairs[0], *pairs[1]):
        one.close()
