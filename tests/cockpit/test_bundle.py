"""The bundle that is committed: made of the source beside it, small enough, and served so that it is kept rightly."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import httpx
import pytest

from qframe_rl.service.pages import STATIC
from tests.service.places import ROOT, served

WEB = ROOT / "web"
LARGEST = 200 * 1024


def sources() -> str:
    """What `web/vite.config.ts` writes of its own folder."""
    digest = hashlib.sha256()
    paths = [p for p in WEB.rglob("*") if p.is_file() and "node_modules" not in p.relative_to(WEB).parts]
    for name, path in sorted((p.relative_to(WEB).as_posix(), p) for p in paths):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def packed() -> int:
    """Bytes of what a browser loads, packed."""
    return sum(len(gzip.compress(p.read_bytes(), 9)) for p in [STATIC / "index.html", *(STATIC / "assets").iterdir()])


def test_the_bundle_is_made_of_the_source_beside_it() -> None:
    said = json.loads((STATIC / "source.json").read_text())["sha256"]
    assert said == sources(), "web/ is another one than the bundle was built from: cd web && npm ci && npx vite build"


def test_the_bundle_is_small() -> None:
    assert packed() <= LARGEST


def test_licences_of_all_that_is_in_it_lie_beside_it() -> None:
    text = (STATIC / "licences.txt").read_text(encoding="utf-8")
    lock = json.loads((WEB / "package-lock.json").read_text())["packages"]
    for place, about in lock.items():
        if place and not about.get("dev"):
            assert f"{place.removeprefix('node_modules/')} {about['version']}" in text
    assert "Apache License" in text
    assert "TradingView" in text


def test_nothing_is_loaded_from_elsewhere() -> None:
    page = (STATIC / "index.html").read_text()
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]* src=)", page)
    for path in (STATIC / "assets").iterdir():
        text = path.read_text(encoding="utf-8")
        assert "dangerouslySetInnerHTML:" not in text.replace("dangerouslySetInnerHTML:null", ""), path.name
        assert "url(http" not in text


def test_the_source_makes_text_of_every_name() -> None:
    for path in (WEB / "src").rglob("*.ts*"):
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|\beval\(", path.read_text()), path.name


def test_the_package_carries_it() -> None:
    built = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert "qframe_rl" in built["targets"]["wheel"]["packages"]
    argv = ["git", "check-ignore", "-v", *(str(p) for p in STATIC.rglob("*") if p.is_file())]
    told = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not told.stdout, "hatch leaves out what git ignores"
    assert "web" in built["targets"]["sdist"]["include"]


def test_it_is_served_so_that_it_is_kept_rightly(tmp_path: Path) -> None:
    with served(tmp_path) as service:
        page = httpx.get(f"{service.url}/")
        assert page.status_code == 200
        assert page.headers["cache-control"] == "no-cache"
        policy = page.headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert httpx.get(f"{service.url}/", headers={"if-none-match": page.headers["etag"]}).status_code == 304
        for path in re.findall(r"/assets/[^\"]+", page.text):
            asset = httpx.get(f"{service.url}{path}")
            assert asset.headers["cache-control"] == "public, max-age=31536000, immutable"
            assert asset.headers["content-encoding"] == "gzip"
            assert asset.content == (STATIC / path[1:]).read_bytes()
            assert asset.headers["x-content-type-options"] == "nosniff"
        worker = httpx.get(f"{service.url}/sw.js")
        assert worker.headers["cache-control"] == "no-cache"
        told = httpx.get(f"{service.url}/manifest.webmanifest").json()
        for icon in told["icons"]:
            assert httpx.get(f"{service.url}{icon['src']}").status_code == 200
        for path in ("/assets/", "/assets/../index.html", "/static/index.html", "/index.htm", "/assets/%2e%2e/sw.js"):
            assert httpx.get(f"{service.url}{path}").status_code == 404
        assert httpx.post(f"{service.url}/").status_code == 405


@pytest.mark.long
def test_another_build_is_the_same_to_the_byte(tmp_path: Path) -> None:
    """With the Node of PyPI where the machine's own is older than Vite wants."""
    web = tmp_path / "web"
    shutil.copytree(WEB, web, ignore=shutil.ignore_patterns("node_modules"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    env = {**os.environ, "PATH": path}
    for argv in (["npm", "ci", "--no-audit", "--no-fund"], ["npx", "tsc", "--noEmit"], ["npx", "vite", "build"]):
        done = subprocess.run(argv, cwd=web, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    made = tmp_path / "qframe_rl" / "service" / "static"
    names = {p.relative_to(made) for p in made.rglob("*") if p.is_file()}
    assert names == {p.relative_to(STATIC) for p in STATIC.rglob("*") if p.is_file()}
    for name in names:
        assert (made / name).read_bytes() == (STATIC / name).read_bytes(), name
