"""The cockpit as files: the bundle that `web/` was built to, read once, sent with what lets a browser keep it.

A file below ``assets/`` has its content's hash in its name, so that a browser may keep it for good; the others are
asked for again each time, and are not sent again while their ETag is the same.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from fastapi import APIRouter, Request
from fastapi.responses import Response

STATIC = Path(__file__).parent / "static"
_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".png": "image/png", ".svg": "image/svg+xml", ".webmanifest": "application/manifest+json",
    ".txt": "text/plain; charset=utf-8", ".json": "application/json",
}  # fmt: skip
_SMALL = 1024
"""Bytes below which nothing is gained by packing."""
_POLICY = (
    "default-src 'self'; img-src 'self' data:; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)


class PageFile(NamedTuple):
    """A file of the bundle."""

    body: bytes
    packed: bytes | None
    """By gzip; None where that is not smaller."""
    headers: dict[str, str]


class Bundle(NamedTuple):
    """All files by their path below the service's root."""

    files: dict[str, PageFile]

    @classmethod
    def read(cls, folder: Path = STATIC) -> Bundle:
        """Read a folder; files of unknown kinds are left out."""
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in _TYPES]
        return cls({path.relative_to(folder).as_posix(): _file(folder, path) for path in paths})

    def router(self) -> APIRouter:
        """Routes of the files, and of the page itself at the root."""
        made = APIRouter(include_in_schema=False)
        for name in self.files:
            path = "/" if name == "index.html" else f"/{name}"
            made.add_api_route(path, self._sender(name), methods=["GET", "HEAD"])
        return made

    def _sender(self, name: str) -> Callable[[Request], Response]:
        def send(request: Request) -> Response:
            return answer(request, self.files[name])

        return send


def answer(request: Request, file: PageFile) -> Response:
    """A file, packed where the browser takes that; 304 where it has it already."""
    if file.headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=file.headers)
    if file.packed is not None and "gzip" in request.headers.get("accept-encoding", ""):
        return Response(file.packed, headers=file.headers | {"content-encoding": "gzip", "vary": "accept-encoding"})
    return Response(file.body, headers=file.headers | {"vary": "accept-encoding"})


def _file(folder: Path, path: Path) -> PageFile:
    body = path.read_bytes()
    kept = "public, max-age=31536000, immutable" if path.parent.name == "assets" else "no-cache"
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"content-type": _TYPES[path.suffix], "cache-control": kept, "etag": tag}
    if path.suffix == ".html":
        headers["content-security-policy"] = _POLICY
    packed = gzip.compress(body, 9, mtime=0) if len(body) > _SMALL else body
    return PageFile(body, packed if len(packed) < len(body) else None, headers)
