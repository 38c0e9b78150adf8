"""Genuine clients of other houses against the rehearsal exchange, each in an environment of its own.

``python -m tests.conformance`` makes the environments where they lack (``.venv-clients``, from pip's and npm's
registries), runs every client and prints what worked; ``--write`` writes the table into docs/rehearsal.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from qframe_rl.feeds.synthetic import synthetic
from qframe_rl.rehearsal import RehearsalConfig, joined, listed, serve
from qframe_rl.rehearsal.market import present

HOME = Path(__file__).parents[2]
ENVIRONMENTS, SCRIPTS = HOME / ".venv-clients", Path(__file__).with_name("clients")
PAGE = HOME / "docs" / "rehearsal.md"
BEGIN, END = "<!-- clients: python -m tests.conformance --write -->", "<!-- /clients -->"
CALLS = (
    "markets", "candles", "book", "streams", "place", "query", "cancel", "balances", "positions", "user stream",
)  # fmt: skip
HOUR = 3_600_000
_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Client:
    """A client of another house."""

    package: str
    script: str
    lacks: tuple[str, ...] = ()
    """Calls that it has not, or that are not its business."""
    npm: bool = False


CLIENTS = (
    Client("ccxt", "ccxt_npm.mjs", npm=True),
    Client("python-binance", "python_binance.py"),
    Client("binance-connector", "binance_connector.py", ("positions",)),
    Client("binance-sdk-spot", "sdk_spot.py", ("positions",)),
    Client("binance-sdk-derivatives-trading-usds-futures", "sdk_futures.py"),
    Client("freqtrade", "freqtrade_dry.py", ("place", "query", "cancel", "balances", "positions", "user stream")),
)


def made(client: Client) -> Path:
    """The environment of a client."""
    place = ENVIRONMENTS / (f"{client.package}-npm" if client.npm else client.package)
    if client.npm:
        if not (place / "node_modules").is_dir():
            place.mkdir(parents=True, exist_ok=True)
            _run(["npm", "init", "-y"], place)
            _run(
                ["npm", "install", "--no-audit", "--no-fund", client.package, "http-proxy-agent", "https-proxy-agent"],
                place,
            )
        return place
    if not (place / "bin" / "python").exists():
        _run([sys.executable, "-m", "venv", str(place)], HOME)
    if not list(place.glob(f"lib/*/site-packages/{client.package.replace('-', '_')}-*.dist-info")):
        _run([str(place / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", client.package], HOME)
    return place


def _run(argv: list[str], folder: Path) -> None:
    subprocess.run(argv, cwd=folder, check=True, stdout=subprocess.DEVNULL)


def version(client: Client, place: Path) -> str:
    """Version of a client that is installed."""
    if client.npm:
        return str(json.loads((place / "node_modules" / client.package / "package.json").read_text())["version"])
    (info,) = place.glob(f"lib/*/site-packages/{client.package.replace('-', '_')}-*.dist-info")
    return info.name.removesuffix(".dist-info").rpartition("-")[2]


def told(client: Client, place: Path) -> dict[str, str]:
    """What each call came to, empty where it worked: on an exchange of its own, at the present, a trade a second."""
    markets = joined([listed(synthetic("regimes", n_bars=2000)), listed(synthetic("gbm", n_bars=2000))])
    now = time.time_ns() // 1_000_000
    shifted = present(markets, markets[0].first_ms + 1000 * HOUR, now)
    with serve(shifted, RehearsalConfig(prints=3600), speed="1x", start_ms=now) as exchange:
        script = SCRIPTS / client.script
        argv = [str(place / "bin" / "python"), str(script)]
        folder = HOME
        if client.npm:
            # Modules are found beside the script alone.
            copy = place / client.script
            copy.write_text(script.read_text())
            argv, folder = ["node", str(copy)], place
        keys = {"URL": exchange.url, "KEY": exchange.config.api_key, "SECRET": exchange.config.secret}
        done = subprocess.run(
            argv, cwd=folder, env=os.environ | keys, capture_output=True, text=True, timeout=_PATIENCE_S, check=False
        )
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    said = {row["call"]: "" if row["ok"] else row["why"] or "failed" for row in rows}
    silent = [call for call in CALLS if call not in said and call not in client.lacks]
    last = done.stderr.strip().splitlines()[-1:] or ["nothing was said"]
    return said | dict.fromkeys(silent, f"not reached: {last[0][:200]}")


def table(found: dict[str, dict[str, str]], names: dict[str, str]) -> str:
    """Clients by calls, as the page shows them."""
    lines = ["| | " + " | ".join(CALLS) + " |", "|---|" + "---|" * len(CALLS)]
    for package, said in found.items():
        cells = ["" if call not in said else "yes" if not said[call] else "**no**" for call in CALLS]
        lines.append(f"| {names[package]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    """Run the clients."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--only", help="one client, by its package")
    parser.add_argument("--write", action="store_true", help="write the table into docs/rehearsal.md")
    given = parser.parse_args()
    found, names = {}, {}
    for client in CLIENTS:
        if given.only not in (None, client.package):
            continue
        place = made(client)
        key = f"{client.package}-npm" if client.npm else client.package
        names[key] = f"{client.package} {version(client, place)}{' (npm)' if client.npm else ''}"
        found[key] = told(client, place)
        for call, why in found[key].items():
            print(f"{names[key]:60} {call:12} {why or 'yes'}", flush=True)
    if given.write:
        text = PAGE.read_text(encoding="utf-8")
        head, _, rest = text.partition(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}\n{table(found, names)}\n{END}{rest.partition(END)[2]}", encoding="utf-8")
    return int(any(why for said in found.values() for why in said.values()))


if __name__ == "__main__":
    sys.exit(main())
