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
from qframe_rl.config import UserError, build, canonical
from qframe_rl.instruments import instrument_of
from qframe_rl.manifest import check_names, kind_of
from qframe_rl.servers import has_password
from qframe_rl.types import Instrument, timeframe_name

FORMAT = 1
_MANIFEST, _WEIGHTS = "checkpoint.json", "weights.safetensors"
_MANIFEST_BYTES = 64 << 20
_KINDS = ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")
_AGAIN = "take the checkpoint from its source again"


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
    def of_book(self) -> bool:
        """Whether it quotes in an order book instead of trading bars."""
        return bool(self.interface.get("kind") == "book")

    @property
    def of_seat(self) -> bool:
        """Whether it sits in a market of many agents, by what its role sees there."""
        return bool(self.interface.get("kind") == "seat")

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest and every weight."""
        return _digest(canonical(self._manifest()), _weights_digest(self.state))

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

    def check_names(self) -> None:
        """Refuse an agent or a market outside the catalogue, at any depth; raises UserError."""
        check_names(self.agent, self.env)

    def _manifest(self) -> dict[str, Any]:
        fields = {name: value for name, value in vars(self).items() if name not in ("state", "instruments")}
        fields["instruments"] = [i.plain() for i in self.instruments]
        plain: dict[str, Any] = json.loads(canonical(fields))
        return plain

    def save(self, folder: Path) -> None:
        """Write the folder in one stroke; one that is there already is replaced, and taken away last.

        Raises
        ------
        UserError
            If a weight is not finite.
        """
        from safetensors.numpy import save_file

        check_finite(self.state, f"agent {self.agent['name']}")
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        manifest = {"format": FORMAT, **self._manifest(), "sha256": self.digest}
        (fresh / _MANIFEST).write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if self.state:
            save_file({k: np.ascontiguousarray(v) for k, v in self.state.items()}, fresh / _WEIGHTS)
        old = fresh.with_name(f"{fresh.name}.old")
        if folder.exists():
            folder.rename(old)
        fresh.rename(folder)
        shutil.rmtree(old, ignore_errors=True)

    def check_fits(
        self, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int, origin: str
    ) -> None:
        """Refuse data that the agent cannot read.

        Parameters
        ----------
        instruments, columns
            What the feed delivers: instruments in its order, names of the channels after volume.
        bar_ns
            Length of its bars, ns.
        origin
            Where the data came from, for the message.

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


def load_checkpoint(folder: Path, *, seat: bool = False) -> Checkpoint:
    """Read a checkpoint.

    Parameters
    ----------
    folder
        Where it is.
    seat
        Whether one is wanted for a seat of a market of many agents, instead of one that trades bars or recorded books:
        one that was trained there, or one of recorded books, which may sit where makers see them.

    Raises
    ------
    UserError
        If there is none, or if it is truncated, corrupt, of another format or of the other kind, or says what no
        checkpoint can.
    """
    path = folder / _MANIFEST
    if not path.is_file():
        raise UserError(f"{folder} is not a checkpoint: it has no {_MANIFEST}.")
    manifest = _read_manifest(path)
    if not isinstance(manifest, dict) or manifest.pop("format", None) != FORMAT:
        raise UserError(f"{path} is not a checkpoint of format {FORMAT}.")
    sealed = manifest.pop("sha256", None)
    state = _read_weights(folder / _WEIGHTS)
    try:
        text = canonical(manifest)
    except (ValueError, RecursionError):
        raise UserError(f"{path} is corrupt: it has a number that is not finite; {_AGAIN}.") from None
    if sealed != _digest(text, _weights_digest(state)):
        raise UserError(f"{folder} is corrupt: its content does not match its SHA-256; take it from its source again.")
    _refuse_password(manifest, path)
    build(kind_of(manifest), manifest, str(path))
    instruments = tuple(instrument_of(i, str(path)) for i in manifest.pop("instruments"))
    manifest["columns"] = tuple(manifest["columns"])
    found = Checkpoint(**manifest, instruments=instruments, state=state)
    if found.of_seat and not seat:
        role, market = found.interface["role"], found.env["name"]
        raise UserError(
            f"{folder} was trained as {role} of {market}: what a seat there sees is not what bars or a recorded book "
            f"show, so it trades neither. It sits in seats: --env {market} --roles {role}={folder}."
        )
    if seat and not (found.of_seat or found.of_book):
        raise UserError(
            f"{folder} was trained on {found.env['name']}, not in a seat of a market of many agents, and does not see "
            "what a seat shows."
        )
    return found


def _refuse_password(manifest: Mapping[str, Any], path: Path) -> None:
    """Refuse an address with a password: to read it would put that in the place of the user's own."""
    provenance = manifest.get("provenance")
    for key in ("load", "trained") if isinstance(provenance, Mapping) else ():
        data = provenance.get(key)  # type: ignore[union-attr]
        if isinstance(data, Mapping) and has_password(str(data.get("data", ""))):
            raise UserError(f"{path}: the address of its data ({key}) has a password in it; {_AGAIN}.")


def _read_manifest(path: Path) -> Any:
    if path.stat().st_size > _MANIFEST_BYTES:
        raise UserError(f"{path} is larger than any checkpoint's ({_MANIFEST_BYTES >> 20} MiB); {_AGAIN}.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        raise UserError(f"{path} is corrupt: it is not JSON; take the checkpoint from its source again.") from None


def _read_weights(path: Path) -> State:
    if not path.exists():
        return {}
    from safetensors import SafetensorError, safe_open

    state: State = {}
    try:
        with safe_open(path, "numpy") as file:
            for name in file.keys():  # noqa: SIM118
                kind = file.get_slice(name).get_dtype()
                if kind not in _KINDS:
                    raise UserError(f"{path}: weight {name!r} is of type {kind}, which no agent has; {_AGAIN}.")
                state[name] = file.get_tensor(name)
    except (SafetensorError, OSError):
        raise UserError(f"{path} is corrupt or truncated; {_AGAIN}.") from None
    check_finite(state, str(path))
    return state


def check_finite(state: Mapping[str, NDArray[Any]], where: str) -> None:
    """Refuse weights with a NaN or an infinity: a policy of such ones asks for nothing, and says nothing.

    Raises
    ------
    UserError
        Naming the first such array.
    """
    for name in sorted(state):
        if state[name].dtype.kind == "f" and not np.isfinite(state[name]).all():
            raise UserError(f"{where}: weight {name!r} has a number that is not finite; train the agent again.")


def _weights_digest(state: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _digest(manifest: str, weights: str) -> str:
    return hashlib.sha256((manifest + weights).encode()).hexdigest()
