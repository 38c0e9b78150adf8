"""Pages of all that can be set, made from the configurations: environments, schemes, strategies, settings."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from qframe_rl import catalog, features
from qframe_rl.config import Base, Ref
from qframe_rl.evaluate.splits import SPLITS
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.synthetic import GENERATORS
from qframe_rl.gym.make import make_env, make_vec
from qframe_rl.gym.market import MarketConfig
from qframe_rl.gym.replay.market import BookConfig
from qframe_rl.gym.reward import KINDS
from qframe_rl.interface import SCHEMES
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.experiment import Experiment

BOUNDS = {Ge: ("≥", "ge"), Gt: (">", "gt"), Le: ("≤", "le"), Lt: ("<", "lt")}
HEAD = "| key | type | default | bounds | meaning |\n|---|---|---|---|---|"


def pages() -> dict[str, tuple[str, str]]:
    """Path of each page to its title and text."""
    return {
        "reference/environments.md": ("Environments", environments()),
        "reference/schemes.md": ("Actions, rewards, features", schemes()),
        "reference/strategies.md": ("Strategies", strategies()),
        "reference/settings.md": ("Settings", settings()),
    }


def environments() -> str:
    """Every environment with the keywords of ``gymnasium.make``."""
    return "\n\n".join([*_of_all(), *_markets(), *_books(), *_problems(), *_games()]) + "\n"


def _of_all() -> list[str]:
    return [
        "# Environments",
        "Every keyword of `gymnasium.make(ID, ...)` and `gymnasium.make_vec(ID, num_envs=N, ...)`, read from the "
        "configurations that check them. The same keys are `env.KEY` in a preset and `--set env.KEY=VALUE`. Names of "
        "[action schemes, rewards and features](schemes.md) have a page of their own; a name with parameters is "
        'written `{"name": "levels", "levels": (0.0, 0.5, 1.0)}`.',
        "## Of every environment",
        called(make_env),
        "`make_vec` takes besides:",
        called(make_vec, but=make_env),
    ]


def _markets() -> list[str]:
    lines = [
        "## Of every market",
        "Where a market's own default differs, its table below says so.",
        table(MarketConfig),
    ]
    base = MarketConfig.model_fields
    for name in catalog.bar_markets():
        own = {
            key
            for key, info in _config(name).model_fields.items()
            if key not in base or info.get_default() != base[key].get_default()
        }
        lines += [*_headed(name), table(_config(name), only=own) if own else "No key of its own."]
    return lines


def _books() -> list[str]:
    lines = [
        "# Order books",
        "Environments on recorded ticks ([order books](../orderbook.md)). `history` is a folder with `ticks/`, a "
        "recipe, or made-up ticks by default; they take no `risk`. Of every order book:",
        table(BookConfig),
    ]
    for name in catalog.order_books():
        own = {key for key in _config(name).model_fields if key not in BookConfig.model_fields}
        lines += [*_headed(name), table(_config(name), only=own)]
    return lines


def _problems() -> list[str]:
    lines = [
        "# Problems",
        "Environments without bars whose optimal policy is known ([solvable markets](../solvable.md)). "
        "They take neither `history` nor `risk`.",
    ]
    for name in catalog.problems():
        lines += [*_headed(name), table(_config(name))]
    return lines


def _games() -> list[str]:
    lines = [
        "# Markets of many agents",
        "Keywords of `qframe_rl.arena.parallel_env(NAME, ...)` and `aec_env` ([many agents](../arena.md)). Gymnasium "
        "knows none of them; one seat of them is `qframe_rl.arena.seat.SeatEnv`.",
    ]
    for name in catalog.games():
        lines += [*_headed(name, name), table(_config(name))]
    return lines


def _headed(name: str, shown: str | None = None) -> list[str]:
    return [f"## `{shown or catalog.env_id(name)}`", prose(catalog.load("envs", name))]


def _config(name: str) -> type[Base]:
    made: type[Base] = catalog.load("envs", name).Config
    return made


def schemes() -> str:
    """Action schemes, rewards, features, synthetic markets and splits, by their names."""
    lines = [
        "# Actions, rewards, features",
        "## Action schemes",
        "The keyword `actions` of a market, `env.actions.name` in settings. A is the number of instruments.",
    ]
    for name, (config, scheme) in SCHEMES.items():
        lines += [f"### `{name}` {{ #actions-{name} }}", prose(scheme), table(config)]
    lines += ["## Rewards", "The keyword `reward` of a market, `env.reward.name` in settings."]
    for name, (config, *_) in KINDS.items():
        lines += [f"### `{name}` {{ #reward-{name} }}", prose(config), table(config)]
    rows = "\n".join(f"| `{name}` | {cell(text)} |" for name, text in features.known().items())
    lines += [
        "## Features",
        "Parts of the keyword `features`. Each is computed from a stated, finite number of bars, so that training and "
        "live trading see the same bits. `s` and `n` stand for numbers of bars.",
        f"| feature | |\n|---|---|\n{rows}",
        "## Synthetic markets",
        "`synthetic:NAME,KEY=VALUE` for `--data`, `qframe_rl.feeds.synthetic.synthetic(NAME, ...)` in Python.",
    ]
    for name, generator in GENERATORS.items():
        lines += [f"### `{name}` {{ #synthetic-{name} }}", prose(generator[0]), table(generator[0])]
    lines += ["## Splits", "`split.name` in settings: how bars are cut into parts to learn, to choose and to judge."]
    for name, config in SPLITS.items():
        lines += [f"### `{name}` {{ #split-{name} }}", prose(config), table(config)]
    return "\n\n".join(lines) + "\n"


def strategies() -> str:
    """Every strategy of the catalogue with its parameters."""
    lines = [
        "# Strategies",
        "What `agents/` has, and what can be set: `--set agent.NAME.KEY=VALUE`, a table `[agent.NAME]` in a preset. "
        "What was measured of them: [the strategies](../agents.md).",
    ]
    for name in catalog.names("agents"):
        module = catalog.load("agents", name)
        lines += [f"## `{name}`", prose(module), table(module.Config)]
    return "\n\n".join(lines) + "\n"


def settings() -> str:
    """Keys of ``train``: of a preset, of the environment's variables and of ``--set``."""
    lines = [
        "# Settings",
        "Keys of `train`, as they stand in a preset, after `--set`, and, in capitals after `QFRAME_` with two "
        "underscores for a dot, in the environment. Which goes before which: "
        "[the command line](../cli.md#settings-of-train).",
        "## At the top",
        table(Experiment),
        "## `data`",
        table(DataConfig, prefix="data."),
        "## `risk`",
        "Limits of the risk engine: [operations](../operations.md#risk).",
        table(Limits, prefix="risk."),
        "## `env`, `agent`, `split`",
        "By the names that are chosen: [environments](environments.md), [strategies](strategies.md), "
        "[splits](schemes.md#splits).",
    ]
    return "\n\n".join(lines) + "\n"


def table(config: type[Base], prefix: str = "", only: set[str] | None = None) -> str:
    """Rows of a configuration's fields; ``only`` some of them."""
    chosen = {key: info for key, info in config.model_fields.items() if only is None or key in only}
    if not chosen:
        return "Nothing can be set."
    rows = [
        f"| `{prefix}{key}` | {kind(info.annotation)} | {default(info)} | {bounds(info)} | {cell(info.description)} |"
        for key, info in chosen.items()
    ]
    return "\n".join([HEAD, *rows])


def called(function: Any, but: Any = None) -> str:
    """Rows of a function's keywords, with what its docstring says of them."""
    from griffe import Docstring, Parser

    known = set(inspect.signature(but).parameters) if but is not None else {"name", "params"}
    said = {}
    for section in Docstring(inspect.getdoc(function) or "").parse(Parser.numpy, warnings=False):
        if section.kind.value == "parameters":
            said = {part.name.lstrip("*"): part.description for part in section.value}
    said |= {
        "num_envs": "Accounts that run beside one another.",
        "autoreset_mode": "When an ended episode begins anew: `NEXT_STEP`, `SAME_STEP` or `DISABLED` of Gymnasium.",
        "observation": "`window` copies the numbers that a policy sees; `index` hands out where each account stands.",
    }
    rows = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in known:
            continue
        value = getattr(parameter.default, "name", parameter.default)
        rows.append(f"| `{name}` | {shown(value)} | {cell(said[name])} |")
    return "\n".join(["| keyword | default | meaning |\n|---|---|---|", *rows])


def prose(thing: Any) -> str:
    """The docstring of a thing up to its first section, as Markdown."""
    text = inspect.getdoc(thing) or ""
    return text.partition("\n----")[0].replace("``", "`")


def kind(annotation: Any) -> str:
    """A type as a reader says it."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin in (Union, types.UnionType):
        return " or ".join(kind(part) for part in inner if part is not type(None))
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in inner)
    if hasattr(annotation, "__metadata__"):
        return kind(inner[0])
    if origin is tuple:
        return f"tuple of {kind(inner[0])}"
    if origin in (dict, Mapping):
        return "table"
    if annotation is Ref:
        return "name, or table"
    known = {bool: "true or false", int: "whole number", float: "number", str: "text", Any: "any"}
    return known.get(annotation) or getattr(annotation, "__name__", str(annotation))


def default(info: FieldInfo) -> str:
    """A default as it is written in settings."""
    if info.is_required():
        return "must be given"
    return shown(info.get_default(call_default_factory=True))


def shown(value: Any) -> str:
    """A value as TOML has it; none where there is none."""
    if value is None:
        return "none"
    if isinstance(value, Ref):
        extra = ", ".join(f"{key} = {json.dumps(part, default=str)}" for key, part in value.params.items())
        return f"`{value.name}`" + (f" with `{extra}`" if extra else "")
    if isinstance(value, Base):
        return "see below"
    if isinstance(value, tuple | list) and len(value) > 4:
        return " ".join(f"`{part}`" for part in value)
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{json.dumps(value, default=str)}`" if not isinstance(value, str) else f"`{value}`"


def bounds(info: FieldInfo) -> str:
    """What a value is held to."""
    parts = []
    for rule in info.metadata:
        if type(rule) in BOUNDS:
            sign, name = BOUNDS[type(rule)]
            parts.append(f"{sign} {getattr(rule, name):g}")
        elif isinstance(rule, MinLen) and rule.min_length:
            parts.append(f"at least {rule.min_length}")
        elif isinstance(rule, MaxLen):
            parts.append(f"at most {rule.max_length}")
    return ", ".join(parts)


def cell(text: str | None) -> str:
    """Text as a cell of a table."""
    return " ".join((text or "").replace("``", "`").replace("|", "\\|").split())
