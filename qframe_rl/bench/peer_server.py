"""A peer's web server, in an environment of its own: it knows nothing of this library.

``python peer_server.py freqtrade`` prints a JSON line with its version, address and what opens it once it answers, and
ends with its stdin.
"""

# mypy: ignore-errors
from __future__ import annotations

import base64
import json
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib.metadata import version
from pathlib import Path

USER, PASSWORD = "bench", "bench-password"


def free_port():
    """A port that nobody has now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def freqtrade(folder, port):
    """Begin its webserver mode; returns the process."""
    config = {
        "exchange": {"name": "binance", "pair_whitelist": ["BTC/USDT"], "pair_blacklist": []},
        "stake_currency": "USDT",
        "stake_amount": 100,
        "dry_run": True,
        "trading_mode": "spot",
        "pairlists": [{"method": "StaticPairList"}],
        "entry_pricing": {"price_side": "same"},
        "exit_pricing": {"price_side": "same"},
        "api_server": {
            "enabled": True,
            "listen_ip_address": "127.0.0.1",
            "listen_port": port,
            "verbosity": "error",
            "enable_openapi": False,
            "jwt_secret_key": "0123456789abcdef" * 2,
            "CORS_origins": [],
            "username": USER,
            "password": PASSWORD,
        },
    }
    place, users = folder / "config.json", folder / "user_data"
    place.write_text(json.dumps(config))
    door = [sys.executable, "-m", "freqtrade"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*door, "create-userdir", "--userdir", str(users)], check=True, **quiet)
    return subprocess.Popen([*door, "webserver", "-c", str(place), "--userdir", str(users)], **quiet)


def main():
    """Serve until stdin ends."""
    port = free_port()
    headers = {"authorization": "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
    with tempfile.TemporaryDirectory() as text:
        process = freqtrade(Path(text), port)
        try:
            for _ in range(600):
                try:
                    asked = urllib.request.Request(f"http://127.0.0.1:{port}/api/v1/version", headers=headers)
                    urllib.request.urlopen(asked, timeout=5.0).read()
                    break
                except (urllib.error.URLError, ConnectionError):
                    if process.poll() is not None:
                        sys.exit(f"freqtrade's web server ended with {process.returncode}")
                    time.sleep(0.1)
            told = {"version": version("freqtrade"), "host": "127.0.0.1", "port": port, "headers": headers}
            print(json.dumps(told), flush=True)
            sys.stdin.read()
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
