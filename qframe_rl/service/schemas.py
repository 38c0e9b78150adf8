"""What can be set of strategies and markets, as JSON Schema: ``python -m qframe_rl.service.schemas``.

Strategies import torch and compiled code, which the service does not: it asks this in a process of its own, once.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

from qframe_rl.config import Unavailable

_PATIENCE_S = 120.0


class Schemas:
    """Asked for when they are wanted first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, Any] | None = None

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Those of ``agents`` or ``envs``.

        Raises
        ------
        Unavailable
            If the process does not answer in time, or fails.
        """
        with self._lock:
            if self._known is None:
                argv = [sys.executable, "-m", "qframe_rl.service.schemas"]
                try:
                    done = subprocess.run(argv, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
                except subprocess.TimeoutExpired:
                    raise Unavailable("the catalogue takes too long to be read; try again") from None
                if done.returncode:
                    raise Unavailable("the catalogue cannot be read; see `qframe train --describe NAME`")
                self._known = json.loads(done.stdout)
            found: list[dict[str, Any]] = self._known[kind]
            return found


def main() -> None:
    """Print them."""
    from qframe_rl import catalog

    told: dict[str, list[dict[str, Any]]] = {"agents": [], "envs": []}
    for kind in ("agents", "envs"):
        for name in catalog.names(kind):
            module = catalog.load(kind, name)
            about = " ".join((module.__doc__ or "").split())
            told[kind].append({"name": name, "about": about, "schema": module.Config.model_json_schema()})
    problems = set(catalog.problems())
    for one in told["envs"]:
        one["problem"] = one["name"] in problems
    print(json.dumps(told))


if __name__ == "__main__":
    main()
