"""Which code runs: a fingerprint of the packages, and the versions of what they stand on."""

from __future__ import annotations

import hashlib
import importlib.metadata
from functools import cache
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent


@cache
def code_fingerprint() -> str:
    """Hash of every Python file of the four packages."""
    digest = hashlib.sha256()
    for package in ("agents", "envs", "experiments", "qframe_rl"):
        for path in sorted((_ROOT / package).rglob("*.py")):
            digest.update(str(path.relative_to(_ROOT)).encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of what the numbers depend on."""
    packages = ("qframe-rl", "numpy", "numba", "torch", "gymnasium", "stable-baselines3")
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
