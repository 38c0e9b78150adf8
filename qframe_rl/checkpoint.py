"""A trained agent as a folder: what it is, how it came about, and its weights. Loading one never runs code.

``checkpoint.json`` holds catalogue names and numbers, ``weights.safetensors`` the arrays; nothing is pickled. Both are
covered by a SHA-256 that is checked when they are read. A folder is written beside its place and then renamed.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qframe_rl.agent import State
from qframe_rl.config import UserError, canonical
from qframe_rl.types import Instrument, timeframe_name

FORMAT = 1
_MANIFEST, _WEIGHTS = "checkpoint.json", "weights.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """Everything that is needed to trade with an agent again, and to know what it is worth."""

    agent: dict[str, Any]
    """``name`` and ``params``."""
    env: dict[str, Any]
    """``name`` and ``params`` of the market."""
    seed: int
    instruments: tuple[Instrument, ...]
    """Those it was trained on, with the rules it met."""
    columns: tuple[str, ...]
    bar_ns: int
    interface: dict[str, Any]
    """Features, fitted scaler and action scheme."""
    provenance: dict[str, Any]
    """Data, periods, fingerprint, versions, how it was chosen."""
    scores: list[dict[str, Any]]
    """Leaderboard rows of the run that made it."""
    state: State
    """Weights by name; empty for a rule that learns nothing."""

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest and every weight."""
        return _digest(self._manifest(), _weights_digest(self.state))

    @property
    def state_digest(self) -> str:
        """SHA-256 over what trades: agent, market, interface and every weight, without scores and provenance."""
        made = [self.agent, self.env, self.seed, self.interface, [i.plain() for i in self.instruments]]
        return hashlib.sha256((canonical(made) + _weights_digest(self.state)).encode()).hexdigest()

    @property
    def warning(self) -> str | None:
        """What everyone who uses it should hear; None if there is nothing."""
        promotion = self.provenance.get("promotion", {})
        if not promotion.get("forced"):
            return None
        return (
            f"{self.agent['name']!r} failed the test for deployment and was deployed only because --promote-anyway "
            f"said so: {promotion['reason']}."
        )

    def _manifest(self) -> dict[str, Any]:
        fields = {name: value for name, value in vars(self).items() if name not in ("state", "instruments")}
        fields["instruments"] = [i.plain() for i in self.instruments]
        plain: dict[str, Any] = json.loads(canonical(fields))
        return plain

    def save(self, folder: Path) -> None:
        """Write the folder in one stroke; one that is there already is replaced."""
        from safetensors.numpy import save_file

        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        manifest = {"format": FORMAT, **self._manifest(), "sha256": self.digest}
        (fresh / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if self.state:
            save_file({k: np.ascontiguousarray(v) for k, v in self.state.items()}, fresh / _WEIGHTS)
        if folder.exists():
            shutil.rmtree(folder)
        fresh.rename(folder)

    def check_fits(
        self, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int, origin: str
    ) -> None:
        """Refuse data that the agent cannot read.

        Raises
        ------
        UserError
            If the number or kind of instruments, the columns or the length of a bar differ.
        """
        pairs = {
            "instruments": (len(self.instruments), len(instruments)),
            "kinds of instrument": (_kinds(self.instruments), _kinds(instruments)),
            "columns": (list(self.columns), list(columns)),
            "timeframe": (timeframe_name(self.bar_ns), timeframe_name(bar_ns)),
        }
        for what, (trained, given) in pairs.items():
            if trained != given:
                raise UserError(
                    f"{origin} does not fit the checkpoint of {self.agent['name']!r} for {self.env['name']!r}: "
                    f"{what} {given}, trained with {trained}."
                )


def _kinds(instruments: tuple[Instrument, ...]) -> str:
    return ", ".join(sorted({i.kind for i in instruments}))


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises
    ------
    UserError
        If there is none, or if it is truncated, corrupt or of another format.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is not a checkpoint: it has no {_MANIFEST}.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{path} is corrupt: it is not JSON; take the checkpoint from its source again.") from None
    if not isinstance(manifest, dict) or manifest.pop("format", None) != FORMAT:
        raise UserError(f"{path} is not a checkpoint of format {FORMAT}.")
    sealed = manifest.pop("sha256", None)
    state = _read_weights(folder / _WEIGHTS)
    if sealed != _digest(manifest, _weights_digest(state)):
        raise UserError(f"{folder} is corrupt: its content does not match its SHA-256; take it from its source again.")
    instruments = tuple(Instrument(**i) for i in manifest.pop("instruments"))
    manifest["columns"] = tuple(manifest["columns"])
    return Checkpoint(**manifest, instruments=instruments, state=state)


def _read_weights(path: Path) -> State:
    if not path.exists():
        return {}
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(path))
    except SafetensorError:
        raise UserError(f"{path} is corrupt or truncated; take the checkpoint from its source again.") from None


def _weights_digest(state: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _digest(manifest: Mapping[str, Any], weights: str) -> str:
    return hashlib.sha256((canonical(manifest) + weights).encode()).hexdigest()
