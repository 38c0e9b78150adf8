"""TLS by nginx and by Caddy, real ones with the configurations that ship, before a real `qframe serve`."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.store import ServiceStore
from tests.servers import free_port, program
from tests.service.places import ROOT, Served, Session, messages, served, until

PROXY = ROOT / "deploy" / "proxy"
NAME = "qframe.example.org"
PASSWORD = "correct horse battery"


class Behind(NamedTuple):
    """A proxy that runs, and what is behind it."""

    url: str
    http: int
    """Port without TLS."""
    tls: ssl.SSLContext
    service: Served
    session: Session

    def client(self, **more: str) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=self.tls, headers=more, timeout=20.0)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a key and a certificate for 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(folder / "fullchain.pem")]
    subprocess.run([*argv, *names, *files], check=True, capture_output=True)
    return folder


def nginx(folder: Path, certificate: Path, ports: tuple[int, int, int]) -> list[str]:
    """How nginx runs with the configuration that ships, on other ports."""
    http, https, behind = ports
    text = (PROXY / "nginx.conf").read_text().replace(f"/etc/letsencrypt/live/{NAME}", str(certificate))
    for old, new in (
        ("8321", behind),
        ("listen 80", f"listen 127.0.0.1:{http}"),
        ("listen 443", f"listen 127.0.0.1:{https}"),
    ):
        assert old in text
        text = text.replace(old, str(new))
    (folder / "site.conf").write_text(text)
    temp = "".join(f"{n}_temp_path {folder}/{n};" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    (folder / "nginx.conf").write_text(
        f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}} "
        f"http {{ access_log off; gzip on; gzip_types *; {temp} include {folder}/site.conf; }}"
    )
    argv = [str(program("nginx", "nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf")]
    tried = subprocess.run([*argv, "-t"], capture_output=True, text=True)
    assert tried.returncode == 0 and "[warn]" not in tried.stderr, tried.stderr
    return argv


def caddy(folder: Path, certificate: Path, ports: tuple[int, int, int]) -> list[str]:
    """How Caddy runs with the configuration that ships, on other ports and with a certificate that is there."""
    http, https, behind = ports
    text = (PROXY / "Caddyfile").read_text().replace("8321", str(behind))
    assert f"{NAME} {{" in text
    files = f"{certificate}/fullchain.pem {certificate}/privkey.pem"
    text = text.replace(f"{NAME} {{", f"https://127.0.0.1, https://{NAME} {{\n\ttls {files}", 1)
    settings = (
        f"http_port {http}", f"https_port {https}", "admin off", "default_bind 127.0.0.1",
        f"storage file_system {folder}",
    )  # fmt: skip
    (folder / "Caddyfile").write_text(text.replace("{\n", "\n\t".join(("{", *settings, "")), 1))
    argv = [str(program("caddy", "caddy")), "run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]
    tried = subprocess.run([argv[0], "validate", *argv[2:]], capture_output=True, text=True)
    assert tried.returncode == 0, tried.stderr
    return argv


def answers(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module", params=[nginx, caddy], ids=lambda one: one.__name__)
def proxy(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: Path
) -> Iterator[Behind]:
    folder, root = (tmp_path_factory.mktemp(name) for name in ("proxy", "root"))
    session = Session(root / "alpha")
    session.bar(5)
    with served(root, "--behind-proxy", "--allow", "operate") as service:
        store = ServiceStore(service.state)
        Doorkeeper(store).new_user("anna", PASSWORD, ["read", "operate"])
        store.close()
        http, https = free_port(), free_port()
        argv = request.param(folder, certificate, (http, https, int(service.url.rpartition(":")[2])))
        env = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        with subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env) as process:
            try:
                until(lambda: answers(https) and answers(http))
                tls = ssl.create_default_context(cafile=str(certificate / "fullchain.pem"))
                yield Behind(f"https://127.0.0.1:{https}", http, tls, service, session)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(20)
    session.close()


def test_a_browser_logs_in_over_tls_and_commands(proxy: Behind) -> None:
    with proxy.client() as browser:
        page = browser.get("/")
        assert page.status_code == 200 and "strict-transport-security" in page.headers
        assert page.headers["content-security-policy"].startswith("default-src 'self'")
        origin = {"origin": proxy.url}
        done = browser.post("/api/v1/login", json={"name": "anna", "password": PASSWORD}, headers=origin)
        assert done.status_code == 204
        cookie = done.headers["set-cookie"].lower()
        assert "secure" in cookie and "httponly" in cookie and "samesite=strict" in cookie
        where = f"/api/v1/sessions/{proxy.session.id}/commands"
        assert browser.post(where, json={"word": "halt"}, headers=origin).status_code == 202
        other = {"origin": "https://elsewhere.example"}
        assert browser.post(where, json={"word": "halt"}, headers=other).status_code == 403
        large = browser.post(where, content=b"x" * 70_000, headers={**origin, "content-type": "application/json"})
        assert large.status_code == 413


def test_an_event_comes_through_at_once(proxy: Behind) -> None:
    """Though nginx is told to compress whatever it may."""
    bearer = {"authorization": f"Bearer {proxy.service.token('read')}", "accept-encoding": "gzip"}
    with proxy.client(**bearer) as client, client.stream("GET", "/api/v1/events?kinds=settled") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in stream.headers
        events = messages(stream.iter_lines())
        for _ in range(3):
            began = time.monotonic()
            proxy.session.bar()
            seq = proxy.session.writer.head.seq
            found = next(one for one in events if "data" in one and json.loads(one["data"]).get("seq") == seq)
            assert json.loads(found["data"])["kind"] == "settled" and time.monotonic() - began < 2.0


def test_guesses_are_counted_whoever_one_says_to_be(proxy: Behind) -> None:
    """Another user each time, and another address in the header: it is one who guesses."""
    codes = []
    with proxy.client() as client:
        for n in range(8):
            said = {"name": f"nobody{n}", "password": "x"}
            codes.append(
                client.post("/api/v1/login", json=said, headers={"x-forwarded-for": f"203.0.113.{n}"}).status_code
            )
    assert codes.count(401) <= 5 and codes[-1] == 429


def test_without_tls_there_is_only_the_way_to_it(proxy: Behind) -> None:
    found = httpx.get(f"http://127.0.0.1:{proxy.http}/api/v1/me", headers={"host": NAME})
    assert found.status_code == 308 and found.headers["location"] == f"https://{NAME}/api/v1/me"
