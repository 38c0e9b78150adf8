"""What docs/rehearsal.md says there is, is there."""

from __future__ import annotations

from pathlib import Path

from qframe_rl.rehearsal.bybit.routes import ROUTES as BYBIT
from qframe_rl.rehearsal.wire.call import Route
from qframe_rl.rehearsal.wire.routes import ROUTES as BINANCE

PAGE = Path(__file__).parents[2] / "docs" / "rehearsal.md"


def table(routes: dict[tuple[str, str], Route]) -> list[str]:
    """Names of requests and what they stand for, as the page lists them."""
    paths: dict[str, list[str]] = {}
    for (method, path), route in routes.items():
        paths.setdefault(route.name.replace("{}", "*"), []).append(f"`{method} {path}`")
    return [f"| `{name}` | {', '.join(found)} |" for name, found in paths.items()]


def test_every_request_is_named() -> None:
    told = PAGE.read_text(encoding="utf-8").partition("## Names of requests")[2]
    assert [line for line in told.splitlines() if line.startswith("| `")] == table(BINANCE) + table(BYBIT)
