"""What is spoiled, and the doors that must take it: a file of each kind, and the code that reads it for a user."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import numpy as np

from qframe_rl.config import UserError, canonical
from qframe_rl.types import HOUR, History, Instrument
from tests.fuzz.mutate import NUMBERS, TEXTS, nasty, spoil_bytes, spoil_tree
from tests.fuzz.tables import spoil_csv, spoil_table, toml
from tests.markets import history_of

ROOT = Path(__file__).resolve().parents[2]
V0 = ROOT / "tests" / "upgrade" / "v0"


def _nothing(folder: Path) -> None:
    """Nothing is to be compiled."""


class Kind(NamedTuple):
    """One kind of file."""

    spoil: Callable[[Path, Random], None]
    """Writes a spoiled one into an empty folder, which is the working folder."""
    open: Callable[[Path], object]
    """Reads it as the doors do."""
    warm: Callable[[Path], None] = _nothing
    """Reads sound ones, so that everything is imported and compiled."""


# Checkpoints


@cache
def _checkpoints() -> tuple[tuple[dict[str, Any], bytes], ...]:
    """Manifests without their seals, and weights."""
    from qframe_rl import catalog
    from qframe_rl.checkpoint import load_checkpoint

    names = ("ppo", "adaptive_mean_reversion", "funding_arbitrage", "dmn", "alpha", "meta")
    shipped = [ROOT / "checkpoints" / name for name in names]
    found = []
    for place in (*shipped, V0 / "quick", V0 / "checkpoint"):
        weights = place / "weights.safetensors"
        manifest = json.loads((place / "checkpoint.json").read_text())
        found.append((manifest, weights.read_bytes() if weights.exists() else b""))
    manifest = json.loads((ROOT / "checkpoints" / "adaptive_mean_reversion" / "checkpoint.json").read_text())
    nested = {"members": ["flat", "again=ensemble"], "member": {"again": {"members": ["momentum", "buy_and_hold"]}}}
    found.append(({**manifest, "agent": {"name": "ensemble", "params": nested}}, b""))
    two = json.loads((ROOT / "checkpoints" / "funding_arbitrage" / "checkpoint.json").read_text())
    for name in catalog.names("agents"):
        params = json.loads(catalog.load("agents", name).Config().model_dump_json())
        found.append(({**two, "agent": {"name": name, "params": params}}, b""))
    for name in ("spot", "perp", "portfolio", "funding"):
        params = json.loads(catalog.load("envs", name).Config().model_dump_json())
        found.append(({**(two if name == "funding" else manifest), "env": {"name": name, "params": params}}, b""))
    assert load_checkpoint(shipped[0]).agent["name"] == "ppo"
    return tuple(found)


def spoil_checkpoint(folder: Path, rng: Random) -> None:
    manifest, weights = rng.choice(_checkpoints())
    if rng.random() < 0.15:
        (folder / "checkpoint.json").write_bytes(spoil_bytes(json.dumps(manifest).encode(), rng))
        (folder / "weights.safetensors").write_bytes(weights)
        return
    if weights and rng.random() < 0.25:
        weights = spoil_bytes(weights, rng) if rng.random() < 0.5 else _other_weights(weights, rng)
    else:
        part = rng.choice(
            ("agent", "agent", "agent", "env", "env", "interface", "interface", "instruments", "provenance", None)
        )
        spoiled = spoil_tree(manifest if part is None else manifest[part], rng)
        manifest = spoiled if part is None else {**manifest, part: spoiled}
    if weights:
        (folder / "weights.safetensors").write_bytes(weights)
    if isinstance(manifest, dict) and rng.random() < 0.9:
        manifest = _sealed(folder, manifest)
    (folder / "checkpoint.json").write_text(_json(manifest), encoding="utf-8", errors="replace")


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except (RecursionError, TypeError):
        return "[" * 50_000 + "]" * 50_000


def _sealed(folder: Path, manifest: dict[str, Any]) -> dict[str, Any]:
    """With the seal that belongs to it, so that what it says is looked at and not only whether it is whole."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from qframe_rl.checkpoint import _digest, _weights_digest

    path, open_ = folder / "weights.safetensors", {k: v for k, v in manifest.items() if k not in ("format", "sha256")}
    try:
        digest = _digest(canonical(open_), _weights_digest(load_file(path) if path.exists() else {}))
    except (ValueError, TypeError, KeyError, RecursionError, SafetensorError, OSError):
        return manifest
    return {**manifest, "sha256": digest}


def warm_checkpoint(folder: Path) -> None:
    for k, (manifest, weights) in enumerate(_checkpoints()):
        place = folder / str(k)
        place.mkdir()
        if weights:
            (place / "weights.safetensors").write_bytes(weights)
        (place / "checkpoint.json").write_text(json.dumps(_sealed(place, manifest)))
        with contextlib.suppress(UserError):
            open_checkpoint(place)


def _other_weights(weights: bytes, rng: Random) -> bytes:
    """Arrays of other values, shapes, types or names."""
    from safetensors.numpy import load, save

    state = dict(load(weights))
    name = rng.choice(sorted(state))
    array = state[name].copy()
    how = rng.randrange(6)
    if how == 0:
        array.flat[rng.randrange(array.size)] = rng.choice((np.nan, np.inf, 3e38, 0.0))
    elif how == 1:
        array = np.resize(array, rng.choice(((1,), (0,), (3, 3), array.shape[::-1], (*array.shape, 1))))
    elif how == 2:
        array = array.astype(rng.choice((np.int64, np.uint8, np.float16, np.float64, np.bool_)))
    elif how == 3:
        del state[name]
        name = rng.choice((*TEXTS[:6], "other", "policy.x", "a/b"))
    elif how == 4:
        name = rng.choice(("more", *TEXTS[:3]))
    else:
        array = array * 1e30 if array.dtype.kind == "f" else array
    return bytes(save({**state, name or "empty": np.ascontiguousarray(array)}))


def open_checkpoint(folder: Path) -> object:
    """As `evaluate`, `paper` and a study do, up to the first decisions."""
    from experiments.evaluate import _named
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.deploy import data_for, deployed, known_data, limits_for, period_of, window_of
    from qframe_rl.runner.backtest import backtest
    from qframe_rl.types import Segment

    found = load_checkpoint(folder)
    str(found.warning)
    limits_for(found, {})
    data_for(found, {})
    known_data(found)
    history = _bars(found.instruments, found.columns, found.bar_ns)
    market, agent = deployed(found, history.instruments, history.columns, history.bar_ns, "the fuzzer", history.theory)
    if len(history.instruments) <= 3:
        backtest(market, agent, history, Segment(len(history) - 3, len(history)), window_of(market, agent))
    _named(f"{folder}/", {"data": {}, "risk": {}})
    long = np.linspace(1.4e18, 2.0e18, len(history)).astype(np.int64)
    return period_of(found, replace(history, time=long), {}, None, None)


def _bars(instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int) -> History:
    n = len(instruments)
    made = _walk(n if n <= 3 else 1, len(columns))
    if n > 3:
        made = replace(made, values=np.repeat(made.values, n, axis=1), funding=np.repeat(made.funding, n, axis=1),
                       final=np.repeat(made.final, n, axis=1), instruments=instruments * 1)  # fmt: skip
    time = 1_600_000_000_000_000_000 + bar_ns * np.arange(len(made), dtype=np.int64)
    return replace(made, instruments=instruments, columns=columns, bar_ns=bar_ns, time=time)


@cache
def _walk(n: int, n_columns: int) -> History:
    rng = np.random.default_rng(3)
    close = 100.0 * np.exp(np.cumsum(0.01 * rng.standard_normal((500, n)), axis=0))
    opening = np.concatenate([np.full((1, n), 100.0), close[:-1]])
    bars = [
        opening,
        np.maximum(opening, close) * 1.002,
        np.minimum(opening, close) * 0.998,
        close,
        np.full((500, n), 1e4),
    ]
    more = [1e-4 * rng.standard_normal((500, n)) for _ in range(n_columns)]
    return history_of(np.stack([*bars, *more], axis=-1), columns=tuple(f"c{k}" for k in range(n_columns)))


# Journals


def spoil_journal(folder: Path, rng: Random) -> None:
    session = folder / "session"
    shutil.copytree(V0 / rng.choice(("finished", "halfway")), session)
    shutil.copytree(V0 / "checkpoint", folder / "checkpoint")
    shutil.copy(V0 / "bars.csv", folder)
    how = rng.random()
    if how < 0.35:
        name = rng.choice(("journal.db", "journal.db", "journal.db", "journal.db.head"))
        (session / name).write_bytes(spoil_bytes((session / name).read_bytes(), rng))
    elif how < 0.45:
        (session / "inbox.db").write_bytes(spoil_bytes(_inbox(folder, rng), rng))
    else:
        _spoil_events(session, rng)
    (folder / "how").write_text(rng.choice(("look", "replay", "replay", "resume")))


def warm_journal(folder: Path) -> None:
    for session in ("finished", "halfway"):
        for how in ("look", "replay", "resume"):
            place = folder / f"{session}-{how}"
            place.mkdir()
            shutil.copytree(V0 / session, place / "session")
            shutil.copytree(V0 / "checkpoint", place / "checkpoint")
            shutil.copy(V0 / "bars.csv", place)
            (place / "how").write_text(how)
            with contextlib.suppress(UserError):
                open_journal(place)


def _inbox(folder: Path, rng: Random) -> bytes:
    path = folder / "inbox.part"
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "CREATE TABLE commands (number INTEGER PRIMARY KEY, time INTEGER NOT NULL, word TEXT NOT NULL)"
        )
        for number in range(20):
            database.execute("INSERT INTO commands VALUES (?, ?, ?)", (10**18 + number, 0, rng.choice(TEXTS)[:100]))
        database.commit()
    data = path.read_bytes()
    path.unlink()
    return data


_CELLS = (
    ("pulse", "state"), ("pulse", "time"), ("snapshots", "state"), ("snapshots", "seq"), ("snapshots", "watchers"),
    ("snapshots", "made"), ("outbox", "sent"), ("outbox", "text"),
)  # fmt: skip


def _spoil_events(session: Path, rng: Random) -> None:
    """Change what a journal says, and chain it anew, so that what it says is looked at."""
    from qframe_rl.journal.lock import BEGINNING
    from qframe_rl.journal.store import link

    path = session / "journal.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.text_factory = lambda data: data.decode("utf-8", "replace")
        for name in ("no_update", "no_delete"):
            database.execute(f"DROP TRIGGER IF EXISTS {name}")
        how = rng.random()
        if how < 0.25:
            _spoil_cells(database, *rng.choice(_CELLS), rng)
        else:
            kinds = [kind for (kind,) in database.execute("SELECT DISTINCT kind FROM events")]
            kind = rng.choice(kinds)
            seqs = [seq for (seq,) in database.execute("SELECT seq FROM events WHERE kind = ?", (kind,))]
            seq = rng.choice(seqs)
            if how < 0.9:
                (payload,) = database.execute("SELECT payload FROM events WHERE seq = ?", (seq,)).fetchone()
                database.execute(
                    "UPDATE events SET payload = ? WHERE seq = ?", (_json(spoil_tree(json.loads(payload), rng)), seq)
                )
            elif how < 0.95:
                database.execute("UPDATE events SET kind = ? WHERE seq = ?", (rng.choice(kinds), seq))
            else:
                column = rng.choice(("time", "kind", "payload"))
                database.execute(f"UPDATE events SET {column} = ? WHERE seq = ?", (_cell(rng), seq))
        if rng.random() < 0.9:
            digest, last = BEGINNING.hash, 0
            for seq, time, kind, payload in database.execute(
                "SELECT seq, time, kind, payload FROM events ORDER BY seq"
            ).fetchall():
                digest, last = link(digest, seq, time, kind, payload), seq
                database.execute("UPDATE events SET hash = ? WHERE seq = ?", (digest, seq))
            (session / "journal.db.head").write_text(f"{last:020d} {digest.hex()} {1:010d}\n")


def _spoil_cells(database: sqlite3.Connection, table: str, column: str, rng: Random) -> None:
    for rowid, was in database.execute(f"SELECT rowid, {column} FROM {table}").fetchall():
        now = _cell(rng)
        if isinstance(was, str) and was.startswith("{") and rng.random() < 0.7:
            now = _json(spoil_tree(json.loads(was), rng))
        with contextlib.suppress(sqlite3.Error):  # SQLite itself takes no text for a key
            database.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (now, rowid))


def _cell(rng: Random) -> Any:
    made = nasty(rng, rng.choice((1, 1.5, "text")))
    fits = isinstance(made, str | float) or (isinstance(made, int) and abs(made) < 2**63)
    return made.encode("utf-8", "replace").decode() if isinstance(made, str) else made if fits else b"\xff\x00"


def open_journal(folder: Path) -> object:
    """As `status`, `control`, `replay` and a restart of `paper` do."""
    from experiments.status import look, table
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.journal.inbox import order
    from qframe_rl.journal.store import verify
    from qframe_rl.live.open import opened_replay, reopened
    from qframe_rl.live.paper import paper, replay

    session, how = folder / "session", (folder / "how").read_text()
    table([look(session)])
    if how == "look":
        order(session / "journal.db", "halt")
        return look(session)
    if how == "replay":
        verify(session / "journal.db")
        market, agent, terms = reopened(session / "journal.db", folder / "checkpoint")
        return replay(market, agent, terms, session / "journal.db")
    opened = opened_replay(
        folder / "checkpoint", load_checkpoint(folder / "checkpoint"), {"data": str(folder / "bars.csv")},
        "2020-01-10", "2020-01-11T12:00", session, float("inf"),
    )  # fmt: skip
    return paper(opened.market, opened.agent, opened.feed, opened.terms, opened.folder, durable=False, snapshot_bars=20)


# Bars and other tables


def spoil_csv_file(folder: Path, rng: Random) -> None:
    name = rng.choice(("AAA-USDT.csv", "AAA-USDT.csv", "column.csv", "rates.csv", "settlements.csv"))
    text = {
        "AAA-USDT.csv": "\n".join((V0 / "bars.csv").read_text().splitlines()[:80]),
        "column.csv": "timestamp,published,value\n" + "\n".join(
            f"2019-12-{d:02d},2019-12-{d:02d} 08:00,{d}.5" for d in range(1, 29)),
        "rates.csv": "timestamp,rate\n2019-01-01,0.02\n2019-06-01,0.0175\n2019-09-01T00:00:00Z,0.015",
        "settlements.csv": "timestamp,symbol,settle\n" + "\n".join(
            f"2020-01-{d:02d},{s},{p + d}" for d in range(1, 29) for s, p in (("AAA", 50), ("CME_CL", 80))),
    }[name]  # fmt: skip
    (folder / "bars").mkdir()
    shutil.copy(V0 / "bars.csv", folder / "bars" / "AAA-USDT.csv")
    (folder / "kind").write_text(name)
    (folder / ("bars" if name.startswith("AAA") else ".") / name).write_bytes(spoil_csv(text, rng))


def open_csv_file(folder: Path) -> object:
    """As every door does that loads bars, with what is joined to them."""
    from qframe_rl.config import build
    from qframe_rl.feeds.data import DataConfig
    from qframe_rl.feeds.load import load, remarks

    bars: dict[str, Any] = {"data": str(folder / "bars" / "AAA-USDT.csv")}
    more = {
        "AAA-USDT.csv": bars,
        "column.csv": {**bars, "columns": [f"x={folder / 'column.csv'}:value:1h"]},
        "rates.csv": {**bars, "risk_free": str(folder / "rates.csv")},
        "settlements.csv": {"data": f"settlements:{folder / 'settlements.csv'}",
                            "symbols": ["AAA/USD:USD", "CMECL/USD:USD"]},
    }[(folder / "kind").read_text()]  # fmt: skip
    history = load(build(DataConfig, more, "options"))
    return history.describe(), list(remarks(history))


def spoil_parquet(folder: Path, rng: Random) -> None:
    import pyarrow
    from pyarrow import parquet

    from qframe_rl.types import iso

    n, start = 60, 1_577_836_800_000_000_000
    close = 100.0 + np.cumsum(np.random.default_rng(1).standard_normal(n))
    opening = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opening, close) + 0.1, np.minimum(opening, close) - 0.1
    bars = {"open": opening, "high": high, "low": low, "close": close, "volume": np.full(n, 1e3)}
    for coin in ("binance/AAA-USDT", "binance_um/BBB-USDT"):
        _store(folder / "store" / "ohlcv" / coin / "1h.parquet", start + HOUR * np.arange(n), bars)
    rates = {"rate": np.full(n // 8 + 2, 1e-4)}
    _store(
        folder / "store" / "funding" / "binance_um" / "BBB-USDT.parquet",
        start - 8 * HOUR + 8 * HOUR * np.arange(n // 8 + 2),
        rates,
    )
    rules = {"AAA/USDT": Instrument("AAA/USDT", lot=0.1, tick=0.01).plain()}
    told = {"environment": "production", "volume": "base", "instruments": rules}
    listing = folder / "store" / "ohlcv" / "binance" / "instruments.json"
    listing.write_text(json.dumps(told))
    (folder / "since").write_text(iso(start))
    files = sorted((folder / "store").rglob("*.parquet"))
    path = rng.choice(files)
    how = rng.random()
    if how < 0.1:
        listing.write_text(_json(spoil_tree(told, rng)), encoding="utf-8", errors="replace")
    elif how < 0.45:
        path.write_bytes(spoil_bytes(path.read_bytes(), rng))
    else:
        sound, whole = parquet.read_table(path), path.read_bytes()
        for _ in range(20):  # not every table can be written
            try:
                parquet.write_table(spoil_table(sound, rng), path, compression=rng.choice(("none", "zstd", "gzip")))
            except pyarrow.ArrowException:
                path.write_bytes(whole)
            else:
                break


def _store(path: Path, time: Any, values: dict[str, Any]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True)
    stamp = pyarrow.array(time // 1_000_000).cast(pyarrow.timestamp("ms"))
    parquet.write_table(pyarrow.table([stamp, *values.values()], ["timestamp", *values]), path)


def open_parquet(folder: Path) -> object:
    """As every door does that loads a store or a file of it."""
    from qframe_rl.config import build
    from qframe_rl.feeds.data import DataConfig
    from qframe_rl.feeds.load import load, remarks
    from qframe_rl.runner.report import read_journal

    said: list[object] = []
    refused: list[UserError] = []
    store, single = folder / "store", folder / "store" / "ohlcv" / "binance" / "AAA-USDT" / "1h.parquet"
    data = {"symbols": ["AAA/USDT"], "timeframe": "1h"}
    for more in (
        {"data": str(store), **data},
        {"data": str(store), "exchange": "binance_um", "symbols": ["BBB/USDT"]},
        {"data": str(single)},
        {"data": "synthetic:gbm", "bars": 300, "columns": [f"x={single}:close:1h"]},
    ):
        try:
            history = load(build(DataConfig, more, "options"))
            said.append((history.describe(), list(remarks(history))))
        except UserError as error:
            refused.append(error)
    with contextlib.suppress(UserError):  # bars are no journal
        said.append(len(read_journal(single, {"symbols": ["AAA/USDT"], "timeframe": "1h"})))
    if refused:
        raise refused[0]
    return said


# Configuration


@cache
def _presets() -> tuple[dict[str, Any], ...]:
    import tomllib

    files = [*sorted((ROOT / "experiments" / "presets").glob("*.toml")), ROOT / "experiments" / "solve.toml"]
    more = [
        {"agents": ["ensemble"],
         "agent": {"ensemble": {"members": ["a=momentum", "flat"], "member": {"a": {"rule": "macd"}}}}},
        {"env": {"name": "perp", "features": ["rsi:14", "macd:8:24"], "n_rows": 4, "leverage": 3.0,
                 "taker_fee_bps": 5.0, "actions": {"name": "exposure", "low": -1.0, "high": 1.0},
                 "reward": {"name": "drawdown", "penalty": 2.0}}},
        {"agents": ["ppo", "sb3", "eiie", "dmn", "direct_rl", "fitted_q", "rllib"],
         "agent": {"ppo": {"hidden": [16, 16], "network": "gru", "units": 8},
                   "sb3": {"algorithm": "ppo", "hidden": [16]}, "dmn": {"horizons": [1, 21], "hidden": 8},
                   "eiie": {"n_bars": 12}, "fitted_q": {"levels": [-1.0, 1.0], "hidden": [8]}, "rllib": {"n_envs": 8}}},
        {"split": {"name": "walk_forward", "train": 400, "validation": 100, "test": 100}, "seeds": 2, "seed": 3,
         "level": 0.9, "risk": {"max_leverage": 0.5, "daily_loss": 0.1},
         "data": {"data": "synthetic:gbm", "bars": 2000, "seed": 4}},
    ]  # fmt: skip
    return (*(tomllib.loads(path.read_text()) for path in files), *more)


def spoil_toml(folder: Path, rng: Random) -> None:
    tree = rng.choice(_presets())
    (folder / "door").write_text(
        "solve" if "case" in tree or "cases" in tree else rng.choice(("train", "train", "study", "tune"))
    )
    if rng.random() < 0.25:
        (folder / "preset.toml").write_bytes(spoil_bytes(toml(tree).encode(), rng))
    else:
        (folder / "preset.toml").write_bytes(toml(spoil_tree(tree, rng)).encode("utf-8", "replace"))
    key = rng.choice(
        ("agent.ppo.total_steps", "env.cash", "seed", "data.bars", "split", "x" * 500, "a.b.c.d", "agents", "'")
    )
    value = rng.choice(
        (*TEXTS, *(repr(n) if abs(n) < 1e300 or n != n else "1" + "0" * 400 for n in NUMBERS), "[" * 5_000, "{a" * 50)
    )
    (folder / "set").write_bytes((f"{key}={value}" if rng.random() < 0.2 else "seed=1").encode("utf-8", "replace"))


def warm_toml(folder: Path) -> None:
    for door in ("train", "study", "tune", "solve"):
        for tree in _presets():
            (folder / "door").write_text(door)
            (folder / "set").write_text("seed=1")
            (folder / "preset.toml").write_text(toml(tree))
            with contextlib.suppress(UserError):
                open_toml(folder)


def open_toml(folder: Path) -> object:
    """As `train`, `evaluate`, `tune` and `solve` do before they work."""
    from experiments.settings import settings
    from qframe_rl.config import build
    from qframe_rl.deploy import make_agent, make_market
    from qframe_rl.gym.make import is_problem, make_problem
    from qframe_rl.runner.experiment import Experiment, agent_config, roster
    from qframe_rl.runner.study.plan import Study
    from qframe_rl.runner.tune.plan import Tune

    path, door = folder / "preset.toml", (folder / "door").read_text()
    if door == "solve":
        from experiments.solve import load_cases, planned

        cases = load_cases(path)
        planned(cases, (), None)
        return [make_problem(case.env) for case in cases.values()]
    model: Any = {"train": Experiment, "study": Study, "tune": Tune}[door]
    config = build(model, settings(model, str(path), [(folder / "set").read_text()], {}), f"preset {path}")
    if is_problem(config.env.name if config.env.name != "auto" else "spot"):
        return make_problem(config.env)
    history = _walk(2, 0)
    market = make_market(config.env, history.instruments, history.columns, history.bar_ns, config.risk)
    if door != "train":
        return market
    return [
        make_agent(name, agent_config(config, name), market, history.columns, 1, None)
        for name in roster(config, history)
        if name != "optimal"
    ]


KINDS = {
    "checkpoint": Kind(spoil_checkpoint, open_checkpoint, warm_checkpoint),
    "journal": Kind(spoil_journal, open_journal, warm_journal),
    "csv": Kind(spoil_csv_file, open_csv_file),
    "parquet": Kind(spoil_parquet, open_parquet),
    "toml": Kind(spoil_toml, open_toml, warm_toml),
}
