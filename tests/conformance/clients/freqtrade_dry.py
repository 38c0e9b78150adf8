"""freqtrade in dry-run until one candle of a minute has closed: coins, without orders that go out."""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from urllib.request import urlopen

from told import SOCKETS, URL, tell

STRATEGY = """
from freqtrade.strategy import IStrategy


class Always(IStrategy):
    INTERFACE_VERSION = 3
    timeframe, minimal_roi, stoploss, startup_candle_count = "1m", {"0": 10}, -0.5, 5

    def populate_indicators(self, dataframe, metadata):
        print(f"ANALYSED {len(dataframe)}", flush=True)
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe["enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe["exit_long"] = 0
        return dataframe
"""
paths = {"public": "api/v3", "private": "api/v3", "sapi": "sapi/v1", "v1": "api/v1"}
urls = {name: f"{URL}/{path}" for name, path in paths.items()}
urls["ws"] = {"spot": f"{SOCKETS}/stream/ws", "ws-api": {"spot": f"{SOCKETS}/ws-api/v3"}}
ccxt_config = {"urls": {"api": urls}, "options": {"fetchMarkets": {"types": ["spot"]}, "fetchCurrencies": False}}
CONFIG = {
    "dry_run": True, "initial_state": "running",
    "dry_run_wallet": 1000, "max_open_trades": 1, "stake_currency": "USDT", "stake_amount": 100,
    "trading_mode": "spot", "unfilledtimeout": {"entry": 10, "exit": 10}, "bot_name": "rehearsed",
    "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
    "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
    "exchange": {
        "name": "binance", "key": "", "secret": "", "pair_whitelist": ["GBM/USDT"], "enable_ws": True,
        "ccxt_config": ccxt_config, "ccxt_async_config": ccxt_config,
    },
    "pairlists": [{"method": "StaticPairList"}], "internals": {"process_throttle_secs": 2},
}  # fmt: skip
with tempfile.TemporaryDirectory() as folder:
    root = Path(folder)
    (root / "strategies").mkdir()
    (root / "strategies" / "always.py").write_text(STRATEGY)
    (root / "config.json").write_text(json.dumps(CONFIG))
    argv = [sys.executable, "-m", "freqtrade", "trade", "-c", "config.json", "-s", "Always", "--userdir", "."]
    log = (root / "log.txt").open("w+")
    bot = subprocess.Popen(argv, cwd=root, stdout=log, stderr=subprocess.STDOUT, env=os.environ)
    begun, said, sockets = time.monotonic(), "", 0
    try:
        while time.monotonic() - begun < 170.0 and bot.poll() is None:
            time.sleep(1.0)
            said = (root / "log.txt").read_text()
            with urlopen(f"{URL}/rehearsal/state", timeout=10) as answer:
                sockets = max(sockets, json.load(answer)["sockets"])
            # Analysed again: another candle has closed. An entry is priced by the book, in dry-run as well.
            if said.count("ANALYSED") >= 2 and "'type': entry" in said and sockets:
                break
    finally:
        bot.terminate()
        bot.wait(30)
    last = " | ".join(line for line in said.splitlines() if "ERROR" in line or "Error" in line)[-300:]
    for call, holds in (
        ("markets", "Using Exchange" in said),
        ("candles", said.count("ANALYSED") >= 2),
        ("book", "'type': entry" in said),
        ("streams", sockets > 0),
    ):
        tell(call, None if holds else f"not seen; {last or said[-300:]}")
