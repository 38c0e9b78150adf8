"""The image of ``deploy/``, built and used without a daemon: ``python -m tests.long.container [--keep FOLDER]``.

The base is Debian by mmdebstrap, in place of the tag that a registry has; buildah builds on it in a chroot. What came
out is entered as the user whom it names, everything outside of its volume read-only, and the first steps are taken.
Asks for root, buildah, mmdebstrap and unshare, and for the registries of apt and pip as this machine knows them.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UID = 10001
SECRETS = re.compile(r"(?i)(password|secret|token|api_?key|index_url|find_links)=")
SUITE = "bookworm"
STEPS = (
    ["--version"],
    ["train", "--preset", "quick", "--json"],
    ["paper", "ppo", "--speed", "max", "--json"],
    ["status", "runs/paper/ppo-smoke", "--json"],
    ["backup", "backups/today", "--json"],
)


class Failed(Exception):
    """A step that did not do what it should; the message is the sentence for the user."""


def main() -> int:
    """Build and try; 1 where a step fails."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where it all is left (default: nowhere)")
    parser.add_argument("--constraints", action="store_true", help="write deploy/constraints.txt anew and leave")
    given = parser.parse_args()
    if given.constraints:
        resolve()
        return 0
    place = given.keep or Path(tempfile.mkdtemp(prefix="qframe-image-"))
    place.mkdir(parents=True, exist_ok=True)
    try:
        with_image(place)
    except Failed as error:
        print(f"FAIL {error}", flush=True)
        return 1
    finally:
        if given.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    return 0


def with_image(place: Path) -> None:
    """Build the image, look at what is in it, and use it."""
    for name in ("buildah", "mmdebstrap", "unshare"):
        if shutil.which(name) is None:
            raise Failed(f"{name} is not here: apt-get install buildah mmdebstrap util-linux")
    ship = ["buildah", "--root", str(place / "store"), "--runroot", str(place / "run"), "--storage-driver", "vfs"]
    base(ship, place)
    built(ship, place)
    described(ship)
    (container,) = said([*ship, "from", "qframe-rl"]).split()
    tree = Path(said([*ship, "mount", container]).strip())
    looked_through(tree)
    used(tree, place / "volume")


def base(ship: Sequence[str], place: Path) -> None:
    """Debian's smallest system, by this machine's own sources of packages."""
    root = place / "base.tar"
    sources = [*Path("/etc/apt/sources.list.d").glob("debian.sources"), Path("/etc/apt/sources.list")]
    source = next(path for path in sources if path.exists())
    if not root.exists():
        ran(
            "base by mmdebstrap",
            ["mmdebstrap", "--mode=root", "--variant=minbase", "--include=ca-certificates", SUITE, root, source],
        )
    (empty,) = said([*ship, "from", "scratch"]).split()
    ran("base as an image", [*ship, "add", "--quiet", empty, root, "/"])
    ran("base committed", [*ship, "commit", "--quiet", "--rm", empty, "qframe-base"])


def built(ship: Sequence[str], place: Path) -> None:
    """The image, packages by whatever pip of this machine has been told."""
    lines = said([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    known = {line.partition("=")[0].rpartition(".")[2]: line.partition("=")[2].strip("'") for line in lines}
    more: list[str] = []
    for option, argument in (("index-url", "PIP_INDEX_URL"), ("extra-index-url", "PIP_EXTRA_INDEX_URL")):
        if known.get(option, "").startswith("http"):
            more += ["--build-arg", f"{argument}={known[option]}"]
    # Empty folders that every Debian has: a place that is made for a mount would stay in the image.
    if (cert := known.get("cert")) is not None:
        (place / "cert").mkdir(exist_ok=True)
        shutil.copy(cert, place / "cert" / "cert.pem")
        more += ["--build-arg", "PIP_CERT=/media/cert.pem", "--volume", f"{place / 'cert'}:/media:ro"]
    if (wheels := known.get("find-links", "")).startswith("/"):
        more += ["--build-arg", "PIP_FIND_LINKS=/mnt", "--build-arg", "TORCH_INDEX=", "--volume", f"{wheels}:/mnt:ro"]
    argv = [*ship, "bud", "--isolation", "chroot", "--format", "docker", "--build-arg", "BASE=localhost/qframe-base"]
    ran("image by buildah", [*argv, *more, "--file", ROOT / "deploy" / "Containerfile", "--tag", "qframe-rl", ROOT])


def described(ship: Sequence[str]) -> None:
    """What the image says of itself: whose it runs as, its health check, no secret in settings or history."""
    told = json.loads(said([*ship, "inspect", "--type", "image", "qframe-rl"]))
    config = told["Docker"]["config"]
    if config["User"] != f"{UID}:{UID}" or list(config["Volumes"]) != ["/srv/qframe"] or not config.get("Healthcheck"):
        raise Failed(f"the image is not as deploy/Containerfile says: {config}")
    history = [one.get("created_by", "") for one in told["Docker"]["history"]]
    if found := [text for text in [*config["Env"], *history] if SECRETS.search(text)]:
        raise Failed(f"what belongs to whoever built it is in the image: {found}")
    size = said([*ship, "images", "--format", "{{.Size}}", "qframe-rl"]).split("\n")[0]
    print(f"ok             image of {size}", flush=True)


def looked_through(tree: Path) -> None:
    """Nothing in it that others could write, or that runs as root; no pip, no key, nothing of the builder's."""
    for path in tree.rglob("*"):
        inside = Path("/") / path.relative_to(tree)
        if path.is_symlink() or inside.parts[1] in ("proc", "sys", "dev"):
            continue
        mode = path.stat().st_mode
        if mode & 0o002 and not mode & 0o1000:
            raise Failed(f"{inside} can be written by anybody")
        if inside.parts[1] == "opt" and (mode & 0o6000 or path.stat().st_uid != 0):
            raise Failed(f"{inside} belongs to another than root")
        if inside.name in ("pip.conf", ".netrc", ".env", "id_rsa") or inside.parts[1] == "src":
            raise Failed(f"{inside} is in the image")
    if any((tree / "opt/qframe/bin").glob("pip*")):
        raise Failed("pip is in the image")


def used(tree: Path, volume: Path) -> None:
    """The first steps, as the image's user, with nothing but the volume and /tmp to write to."""
    volume.mkdir(exist_ok=True)
    for name in ("", "runs", "store"):
        (volume / name).mkdir(exist_ok=True)
        os.chown(volume / name, UID, UID)
    for step in STEPS:
        step = [*step, "--out", "runs/paper/ppo-smoke"] if step[0] == "paper" else step
        ran(f"qframe {' '.join(step)}", inside(tree, volume, ["qframe", *step]))
    for bad in ("/opt/qframe/x", "/etc/x", "/x"):
        if subprocess.run(inside(tree, volume, ["touch", bad]), capture_output=True).returncode == 0:
            raise Failed(f"{bad} could be written")
    served(tree, volume)


def served(tree: Path, volume: Path) -> None:
    """Its own command answers its own health check, is healthy for `docker` thereby, and ends in order."""
    argv = inside(tree, volume, ["qframe", "serve", "--host", "0.0.0.0", "--behind-proxy"])
    check = "import urllib.request as web; print(web.urlopen('http://127.0.0.1:8321/api/v1/health').read().decode())"
    began = time.monotonic()
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, start_new_session=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("serving "):
                break
        else:
            raise Failed("serve ended before it answered")
        ready = time.monotonic() - began
        health = json.loads(said(inside(tree, volume, ["python3", "-c", check])))
        os.killpg(running.pid, signal.SIGTERM)
        code = running.wait(timeout=30)
    if not health["ok"] or health["sessions"] < 1 or code != 0:
        raise Failed(f"serve said {health} and ended with {code}")
    print(f"ok   {ready:6.1f} s  qframe serve: {health}", flush=True)


def inside(tree: Path, volume: Path, argv: Sequence[str]) -> list[str]:
    """How a command runs in the image: everything read-only but the volume and an own /tmp, as its user."""
    script = (
        f"set -e; mount --bind {tree} {tree}; mount --bind {volume} {tree}/srv/qframe; mount -t tmpfs x {tree}/tmp; "
        f"mount -t proc proc {tree}/proc; mount --rbind /dev {tree}/dev; mount -o remount,bind,ro {tree}; "
        f"cd {tree}/srv/qframe; exec chroot --userspec={UID}:{UID} {tree} /usr/bin/env -i -C /srv/qframe "
        "PATH=/opt/qframe/bin:/usr/bin:/bin HOME=/srv/qframe XDG_STATE_HOME=/srv/qframe/state "
        'XDG_CACHE_HOME=/srv/qframe/cache MPLCONFIGDIR=/srv/qframe/cache/matplotlib PYTHONDONTWRITEBYTECODE=1 "$@"'
    )
    return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", script, "sh", *argv]


def resolve() -> None:
    """Write down which versions pip takes today."""
    with tempfile.TemporaryDirectory() as place:
        report = Path(place) / "report.json"
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report]
        torch = re.search(r"^ARG TORCH=(.*)$", (ROOT / "deploy" / "Containerfile").read_text(), re.MULTILINE)
        assert torch is not None
        ran("resolved", [*pip, f"torch=={torch[1]}", f"{ROOT}[postgres,redis,alerts,watch]"])
        found = [one["metadata"] for one in json.loads(report.read_text())["install"]]
    lines = sorted(f"{one['name'].lower().replace('_', '-')}=={one['version']}" for one in found)
    head = "# What the image is made of; made anew by `python -m tests.long.container --constraints`."
    kept = [line for line in lines if not line.startswith("qframe-rl==")]
    (ROOT / "deploy" / "constraints.txt").write_text("\n".join([head, *kept, ""]))


def said(command: Sequence[str | Path]) -> str:
    """What a command prints; raises Failed if it fails."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{command[0]}: {done.stderr[-2000:]}")
    return done.stdout


def ran(title: str, command: Sequence[str | Path]) -> None:
    """Run a command and say how long it took; raises Failed with what it printed if it fails."""
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"{title}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    print(f"ok   {time.monotonic() - began:6.1f} s  {title}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
