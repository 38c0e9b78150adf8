"""What a checkpoint's manifest may say: types and bounds of all that is read of it, and which names it may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from qframe_rl.config import Strict, UserError
from qframe_rl.custom import is_custom, is_trusted
from qframe_rl.feeds.data import DataConfig
from qframe_rl.instruments import InstrumentFields
from qframe_rl.risk.limits import Limits

Text = Annotated[str, Field(min_length=1, max_length=200)]
Params = dict[str, Any]
FeatureText = Annotated[str, Field(min_length=1, max_length=5000)]
"""Name of a feature: a formula may be long."""
N_INSTRUMENTS = 1000
_UNIMPORTED = ("env.params.features", "env.params.latencies", "agent.params.column", "agent.params.dataset")
"""Parameters whose texts are looked up in a closed list, or name a column, a file or a folder: they may have dots."""
_NUMBER = re.compile(r"(?<![\w.])(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?(?![\w.])", re.ASCII)
"""A number that stands for itself, also in a list, a table or a formula: its dot is that of no path."""

_OWN = ("env.params.reward", "env.params.reward.name", "env.params.actions", "env.params.actions.name")
"""Where a user's own function may stand, by name and digest."""


class Named(Strict):
    """A thing of a catalogue; its parameters are checked by its own ``Config``."""

    name: Text
    params: Params


class InterfaceEntry(Strict):
    """An interface as `qframe_rl.interface.MarketInterface.describe` has it."""

    features: list[FeatureText] = Field(min_length=1, max_length=1000)
    n_rows: int = Field(ge=1, le=100_000)
    n_instruments: int = Field(ge=1, le=N_INSTRUMENTS)
    columns: list[Text] = Field(max_length=1000)
    mean: list[float]
    scale: list[Annotated[float, Field(gt=0.0)]]
    scheme: Text
    params: Params
    bar_ns: int = Field(default=0, ge=0, le=366 * 86_400 * 1_000_000_000)
    """Where a feature is a formula, or one of coarser bars."""
    locks: bool = False
    """Whether what protections lock is shown."""
    limits: bool = False
    """Whether what is used up of loss limits is shown."""
    resting: bool = False
    """Whether where orders rest is shown."""

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if not len(self.features) == len(self.mean) == len(self.scale):
            raise ValueError("features, mean and scale differ in length")
        return self


class QuotingFacts(Strict):
    """What was measured on training ticks."""

    volatility: float = Field(ge=0.0, le=1e15)
    intensity: float = Field(ge=0.0, le=1e15)
    decay: float = Field(ge=0.0, le=1e15)
    decide_ns: int = Field(default=0, ge=0, le=10**18)


class BookInterfaceEntry(Strict):
    """An interface to an order book."""

    kind: Literal["book"]
    features: list[Text] = Field(min_length=1, max_length=1000)
    n_rows: int = Field(ge=1, le=100_000)
    mean: list[float]
    scale: list[Annotated[float, Field(gt=0.0)]]
    micro: list[Annotated[list[float], Field(max_length=1000)]] | None = Field(max_length=1000)
    facts: QuotingFacts

    @model_validator(mode="after")
    def _scaled(self) -> Self:
        if not len(self.features) == len(self.mean) == len(self.scale):
            raise ValueError("features, mean and scale differ in length")
        return self


class Promotion(Strict):
    """How it was chosen, as far as it is read."""

    model_config = ConfigDict(extra="allow")

    forced: bool = False
    reason: str = ""
    trials: int = Field(default=1, ge=0, le=10**12)
    effective_trials: float | None = Field(default=None, ge=0.0, le=1e12)
    trainings: int = Field(default=1, ge=0, le=10**12)
    spread: float = Field(default=1.0, ge=0.0, le=1e12)

    @model_validator(mode="after")
    def _told(self) -> Self:
        if self.forced and not self.reason:
            raise ValueError("it was forced, but no reason is given")
        return self


class DataEntry(Strict):
    """Description of the bars, as far as it is read."""

    model_config = ConfigDict(extra="allow")

    fingerprint: Text
    first: Text


class CodeEntry(Strict):
    """The code that the agent consisted of, as far as it is read."""

    model_config = ConfigDict(extra="allow")

    digest: str = Field(default="", pattern="^[0-9a-f]{0,64}$")


class Provenance(Strict):
    """How it came about, as far as it is read."""

    model_config = ConfigDict(extra="allow")

    fingerprint: str = Field(pattern="^[0-9a-f]{1,64}$")
    data: DataEntry
    load: DataConfig
    trained: DataConfig = DataConfig()
    risk: Limits = Limits()
    periods: dict[str, list[Annotated[list[Text], Field(min_length=2, max_length=2)]]]
    promotion: Promotion = Promotion()
    code: CodeEntry = CodeEntry()
    trial: str | None = Field(default=None, pattern="^[0-9a-f]{1,64}$")
    level: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Of the scores' intervals; those of earlier versions do not say it."""


class CheckpointFields(Strict):
    """What every manifest has besides its format, its seal and its interface."""

    agent: Named
    env: Named
    seed: int = Field(ge=0, lt=2**64)
    instruments: list[InstrumentFields] = Field(min_length=1, max_length=N_INSTRUMENTS)
    columns: list[Text] = Field(max_length=1000)
    provenance: Provenance
    scores: list[Params]


class Manifest(CheckpointFields):
    """That of an agent that trades bars."""

    bar_ns: int = Field(ge=1_000_000_000, le=366 * 86_400 * 1_000_000_000)
    interface: InterfaceEntry

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.interface.n_instruments != len(self.instruments) or self.interface.columns != self.columns:
            raise ValueError("the interface has other instruments or columns than the checkpoint")
        return self


class BookManifest(CheckpointFields):
    """That of an agent that quotes in an order book."""

    instruments: list[InstrumentFields] = Field(min_length=1, max_length=1)
    columns: list[Text] = Field(max_length=0)
    bar_ns: Literal[0]
    interface: BookInterfaceEntry


class SeatEntry(Strict):
    """A seat of a market of many agents."""

    kind: Literal["seat"]
    role: Text
    n_seen: int = Field(ge=1, le=1_000_000)
    n_numbers: int = Field(ge=0, le=1_000_000)
    n_choices: int = Field(ge=0, le=1_000_000)


class SeatProvenance(Strict):
    """How a policy of a seat came about, as far as it is read."""

    model_config = ConfigDict(extra="allow")

    fingerprint: str = Field(pattern="^[0-9a-f]{1,64}$")
    code: CodeEntry = CodeEntry()


class SeatManifest(Strict):
    """That of an agent that sits in a market of many agents."""

    agent: Named
    env: Named
    seed: int = Field(ge=0, lt=2**64)
    instruments: list[InstrumentFields] = Field(max_length=0)
    columns: list[Text] = Field(max_length=0)
    bar_ns: Literal[0]
    interface: SeatEntry
    provenance: SeatProvenance
    scores: list[Params]


_KINDS: dict[object, type[Strict]] = {"book": BookManifest, "seat": SeatManifest}


def kind_of(manifest: Mapping[str, Any]) -> type[Strict]:
    """What a manifest must keep to, by what its interface says it is."""
    interface = manifest.get("interface")
    kind = interface.get("kind") if isinstance(interface, Mapping) else None
    return _KINDS.get(kind, Manifest) if isinstance(kind, str) else Manifest


def check_names(agent: Mapping[str, Any], env: Mapping[str, Any]) -> None:
    """Refuse an agent or a market that names anything outside the catalogue, at any depth of its parameters.

    What is outside is named by a dotted path and imported, which runs its code. So no text with a dot may stand among
    the parameters, unless it is that of a number, or the text names a feature, a column, a file, or a reward or an
    action scheme of the user's own, which are never imported by their names, or a module that the user named himself.

    Raises
    ------
    UserError
        Naming the first such text and where it stands.
    """
    for kind, named in (("agent", agent), ("env", env)):
        for place, text in _texts(kind, named):
            own = is_trusted(text) or (place in _OWN and is_custom(text))
            if "." in _NUMBER.sub("", text) and not own:
                raise UserError(
                    f"the checkpoint's {place} {text!r} lies outside the catalogue and is not imported; if you trust "
                    f"it, name it yourself: --trust {text}, or qframe_rl.custom.trust({text!r})."
                )


def _texts(place: str, value: object) -> Iterator[tuple[str, str]]:
    """All texts in plain data with where they stand."""
    waiting = [(place, value)]
    while waiting:
        where, one = waiting.pop()
        if where in _UNIMPORTED:
            continue
        if isinstance(one, str):
            yield where, one
        elif isinstance(one, Mapping):
            waiting += [(f"{where}.{key}", below) for key, below in one.items()]
        elif isinstance(one, list | tuple):
            waiting += [(f"{where}[{k}]", below) for k, below in enumerate(one)]
