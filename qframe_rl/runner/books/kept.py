"""What a run on order books leaves for its report: records as plain arrays, and reading them back."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import UserError
from qframe_rl.evaluate.provenance import mark_of
from qframe_rl.evaluate.quoting import QuotingRecord
from qframe_rl.evaluate.report.quoting import QuotingMaterial
from qframe_rl.runner.files import read_json

_PLAIN = ("sent", "wished_lots", "unshown", "size", "limit", "unit", "block")
FACTS = "makers.json"
"""The file by which such a run is known."""


def keep_records(folder: Path, records: Mapping[str, Sequence[QuotingRecord]]) -> None:
    """Write ``journals/test-NAME-K.npz`` for each stretch, whole or not at all."""
    place = folder / "journals"
    place.mkdir(parents=True, exist_ok=True)
    for name, own in records.items():
        for k, record in enumerate(own):
            fresh = place / f".test-{name}-{k}.{os.getpid()}.npz"
            np.savez_compressed(
                fresh, allow_pickle=False, **{key: np.asarray(v) for key, v in record._asdict().items()}
            )
            fresh.replace(place / f"test-{name}-{k}.npz")


def kept_records(folder: Path, name: str) -> list[QuotingRecord]:
    """Read them.

    Raises
    ------
    UserError
        If there are none, or one is no such record.
    """
    found = []
    for k in range(1 << 20):
        path = folder / "journals" / f"test-{name}-{k}.npz"
        if not path.is_file():
            break
        try:
            with np.load(path, allow_pickle=False) as file:
                fields = {key: file[key] for key in QuotingRecord._fields}
        except (OSError, ValueError, KeyError):
            raise UserError(f"{path} is corrupt; run the command of {folder} again.") from None
        found.append(QuotingRecord(**{key: v.item() if key in _PLAIN else v for key, v in fields.items()}))
    if not found:
        raise UserError(f"{folder} has no journals/test-{name}-0.npz; run its command again.")
    return found


def material_of(folder: Path) -> QuotingMaterial:
    """What the report of a run is made of.

    Raises
    ------
    UserError
        If something of it is missing or corrupt.
    """
    choice, facts, data = (read_json(folder / name) for name in ("choice.json", FACTS, "data.json"))
    rows = read_json(folder / "leaderboard.json")
    names = [choice["agent"], *(name for name in facts["test"] if name != choice["agent"])]
    checkpoint = load_checkpoint(folder / "agents" / f"{choice['agent']}-0-{choice['run']}")
    source, env = data["source"], checkpoint.env["name"]
    mark = mark_of(source["environment"])
    note = f"{mark}. " * bool(mark) + f"{data['symbol']}, {source['exchange']}, {source['origin']}"
    instrument = checkpoint.instruments[0]
    return QuotingMaterial(
        f"{choice['agent']} on {env}, {data['symbol']}", rows, {name: kept_records(folder, name) for name in names},
        choice["agent"], choice["reason"], instrument.quote, note, facts["facts"], checkpoint.provenance["spans"],
    )  # fmt: skip
