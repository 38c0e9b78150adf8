"""Every number of a configuration is bounded from both sides, and every list in its length, before memory is taken."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from pydantic.fields import FieldInfo

from qframe_rl import catalog
from qframe_rl.alerts.config import AlertConfig
from qframe_rl.config import Base, UserError, build
from qframe_rl.evaluate.splits import Cpcv, Holdout, PurgedKFold, WalkForward
from qframe_rl.features import features
from qframe_rl.feeds.data import DataConfig
from qframe_rl.gym.reward import DifferentialSharpeConfig, DrawdownConfig, LogGrowthConfig
from qframe_rl.interface import SCHEMES, Observer
from qframe_rl.manifest import DataEntry, InterfaceEntry, Manifest, Promotion
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.experiment import Experiment
from qframe_rl.runner.study.plan import Study
from qframe_rl.runner.tune.plan import Tune

CATALOGUE = [(kind, name) for kind in ("agents", "envs") for name in catalog.names(kind)]  # type: ignore[arg-type]
OTHERS = [
    AlertConfig, DataEntry, Cpcv, DataConfig, DifferentialSharpeConfig, DrawdownConfig, Experiment, Holdout, Limits,
    LogGrowthConfig, Manifest, Promotion, PurgedKFold, Study, Tune, WalkForward,
    *(model for model, _ in SCHEMES.values()),
]  # fmt: skip


def unbounded(annotation: Any, stated: frozenset[str]) -> Iterator[str]:
    """Numbers in an annotation that lack a bound; a union passes its own on, a list does not."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *marks = get_args(annotation)
        names = {type(one).__name__ for mark in marks for one in getattr(mark, "metadata", [mark])}
        yield from unbounded(inner, stated | names)
    elif annotation in (int, float):
        if not stated & {"Ge", "Gt"} or not stated & {"Le", "Lt"}:
            yield annotation.__name__
    elif origin in (Union, types.UnionType):
        for one in get_args(annotation):
            yield from unbounded(one, stated)
    elif origin in (tuple, list, dict):
        for one in get_args(annotation):
            yield from unbounded(one, frozenset())


def faults(model: type[Base]) -> list[str]:
    found = []
    for name, info in model.model_fields.items():
        stated = frozenset(type(one).__name__ for one in info.metadata)
        found += [f"{model.__name__}.{name}: {kind}" for kind in unbounded(info.annotation, stated)]
        if numbers_in_list(info) and "MaxLen" not in stated:
            found.append(f"{model.__name__}.{name}: length")
    return found


def numbers_in_list(info: FieldInfo) -> bool:
    inside = get_args(info.annotation) if get_origin(info.annotation) is tuple else ()
    return Ellipsis in inside and any("int" in str(one) or "float" in str(one) for one in inside)


@pytest.mark.parametrize(("kind", "name"), CATALOGUE)
def test_every_number_of_the_catalogue_is_bounded(kind: catalog.Kind, name: str) -> None:
    assert faults(catalog.load(kind, name).Config) == []


@pytest.mark.parametrize("model", OTHERS, ids=lambda model: model.__name__)
def test_every_other_number_is_bounded(model: type[Base]) -> None:
    assert [fault for fault in faults(model) if not fault.startswith("Face.")] == []


def test_the_scaler_of_a_checkpoint_is_as_long_as_its_features() -> None:
    assert faults(InterfaceEntry) == ["InterfaceEntry.mean: float", "InterfaceEntry.scale: float"], (
        "their lengths and signs have a rule of their own"
    )


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("ppo", {"hidden": [300_000, 300_000]}), ("ppo", {"units": 10**9}), ("sb3", {"hidden": [300_000, 300_000]}),
        ("rllib", {"hidden": [64] * 1000}), ("dmn", {"macd": ["8:²4"]}), ("dmn", {"horizons": [10**30]}),
        ("momentum", {"speeds": [[0, 0]]}), ("ensemble", {"estimate_bars": 10**18}), ("eiie", {"n_bars": 10**9}),
    ],
)  # fmt: skip
def test_sizes_beyond_all_reason_are_refused_by_their_field(name: str, params: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=next(iter(params))):
        build(catalog.load("agents", name).Config, params, f"agent {name}")


def test_an_observation_beyond_all_reason_is_refused() -> None:
    with pytest.raises(UserError, match="lower n_rows"):
        Observer(("log_return:1",), 10_000, 1000)
    for name in ("log_return:99999999999999999999", "rsi:" + "9" * 5000, "rsi:²"):
        with pytest.raises(UserError, match="feature"):
            features((name,), ())
