"""``qframe train`` where the market is one of many agents."""

from __future__ import annotations

import os
import time
import tomllib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, called, console, program
from experiments.screen import BarScreen
from experiments.settings import Tree, locate_data, read_preset, settings
from qframe_rl import catalog
from qframe_rl.config import UserError, build, shortened
from qframe_rl.runner.arena.experiment import ArenaExperiment, read_roles

if TYPE_CHECKING:
    from rich.console import Console

    from qframe_rl.runner.arena.train import ArenaOutcome


def add_options(made: Parser) -> None:
    """Add what a training among many agents is told besides."""
    shared = dict.fromkeys(("env", "agent", "data", "seed", "level", "resamples"))
    made.add_fields("among many agents, see docs/arena.md", ArenaExperiment, "", shared)


def meant(given: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether a market of many agents is asked for: roles are given, or its name is."""
    named = [given["env"]]
    tree = {} if own["preset"] is None else read_preset(own["preset"])
    env = tree.get("env")
    named.append(env.get("name") if isinstance(env, Mapping) else env)
    named += [_bare(os.environ[key]) for key in ("QFRAME_ENV", "QFRAME_ENV__NAME") if key in os.environ]
    for text in own["assignments"]:
        key, _, value = text.partition("=")
        if key in ("env", "env.name"):
            named.append(_bare(value))
    roles = given["roles"] is not None or "roles" in tree or "QFRAME_ROLES" in os.environ
    return roles or next((name for name in (named[0], *named[:0:-1]) if name is not None), None) in catalog.games()


def _bare(value: str) -> str:
    try:
        return str(tomllib.loads(f"x = {value}")["x"])
    except ValueError:
        return value


def trained(given: Mapping[str, Any], own: Mapping[str, Any], began: float) -> dict[str, Any] | None:
    """Train roles among one another.

    Parameters
    ----------
    given
        Settings among the options, by dotted key.
    own
        The other options.
    began
        When, by the monotonic clock.
    """
    for option in ("on", "ledger"):
        if own[option] is not None:
            raise UserError(f"--{option} is not for markets of many agents; leave it out.")
    for key, value in given.items():
        if value is not None and key.partition(".")[0] not in ArenaExperiment.model_fields:
            if key == "agents":
                raise UserError("--agents: --roles says who sits where, as in --roles maker=ppo,taker=noise.")
            raise UserError(f"{key} says nothing of markets of many agents (got {shortened(value)}); leave it out.")
    tree = settings(ArenaExperiment, own["preset"], own["assignments"], {**given, "roles": None})
    _place_data(tree)
    if given["roles"] is not None:
        told = tree.get("roles", {})
        tree["roles"] = {**(_roles(told) if isinstance(told, str) else told), **_roles(given["roles"])}
    asked = build(ArenaExperiment, tree, "settings" if own["preset"] is None else f"preset {own['preset']}")
    with BarScreen(track=own["track"]) as screen:
        screen.begin("start up")
        from qframe_rl.runner.arena.train import ArenaRun

        run = ArenaRun(asked, own["runs"], screen, resume=own["resume"])
        screen.end("start up", ", ".join(f"{role}={name}" for role, name in run.seats.names.items()))
        try:
            outcome = run()
        except KeyboardInterrupt:
            screen.say("What was trained is kept; the same command with --resume goes on from there.")
            raise
    seconds = time.monotonic() - began
    tell(console(to_stderr=own["json"]), outcome, asked, seconds)
    if not own["json"]:
        return None
    return {
        "run": str(outcome.folder),
        "roles": outcome.rows,
        "exploitability": {role: one._asdict() for role, one in outcome.gains.items()},
        "hash": outcome.digest,
        "seconds": round(seconds, 3),
    }


def _place_data(tree: Tree) -> None:
    """Say where the recorded book lies that makers are kept for; refuse one that nobody sees."""
    env, data = tree.get("env"), tree.get("data")
    params = env.get("params", env) if isinstance(env, Mapping) else {}
    if data and params.get("maker_sees") != "book":
        key, value = next(iter(data.items())) if isinstance(data, Mapping) else ("data", data)
        raise UserError(
            f"data.{key} says nothing of markets of many agents (got {shortened(value)}) but where makers see books "
            "(env.maker_sees=book); leave it out."
        )
    if data:
        locate_data(tree)
    else:
        tree.pop("data", None)


def _roles(text: str) -> dict[str, str]:
    try:
        return read_roles(text)
    except ValueError as error:
        raise UserError(f"--roles: {error}.") from None


def tell(out: Console, outcome: ArenaOutcome, asked: ArenaExperiment, seconds: float) -> None:
    """Print what roles earned, how far from an equilibrium they are, and what can be done next."""
    from rich.table import Table

    table = Table(title="Roles: what one agent earned an episode, and what a best reply would gain in its place")
    for name in ("role", "who", "return", f"{asked.level:.0%}", "gain of a best reply", f"{asked.level:.0%}"):
        table.add_column(name, justify="left" if name in ("role", "who") else "right")
    for row in outcome.rows:
        gain, found = outcome.gains.get(row["role"]), ("", "")
        if gain is not None:
            found = (f"{gain.gain:.2f}", f"[{gain.low:.2f}, {gain.high:.2f}]".replace("[", r"\["))
            found = ("none found", "") if gain.gain == gain.low == gain.high == 0.0 else found
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]".replace("[", r"\[")
        table.add_row(row["role"], row["agent"], f"{row['return']:.2f}", interval, *found)
    out.print(table)
    if outcome.gains:
        out.print(
            "A reply was trained: what it gains is a lower bound, and one that gains nothing proves no equilibrium.",
            highlight=False,
        )
    else:
        out.print(
            "No best reply was trained (reply_steps 0): returns alone say nothing of an equilibrium.", style="yellow"
        )
    out.print(f"\nhash        {outcome.digest}", highlight=False)
    learned = [row["role"] for row in outcome.rows if row["learns"]]
    for what, text in (
        ("run", outcome.folder),
        ("checkpoints", ", ".join(str(outcome.folder / "agents" / role) for role in learned)),
        ("pictures", ", ".join(map(str, outcome.pictures))),
        ("curves", program("tensorboard", "--logdir", outcome.folder / "tensorboard")),
        ("ratings", _rated(outcome, asked)),
    ):
        out.print(f"{what:11} {text}", highlight=False, soft_wrap=True)
    out.print(f"done in {seconds:.0f} s", style="dim", highlight=False)


def _rated(outcome: ArenaOutcome, asked: ArenaExperiment) -> str:
    """The command that rates the first role that learned, among the others as they are now."""
    sits = {row["role"]: outcome.folder / "agents" / row["role"] if row["learns"] else row["agent"]
            for row in outcome.rows}  # fmt: skip
    role = next(row["role"] for row in outcome.rows if row["learns"])
    told: list[object] = ["--env", asked.env.name]
    told += [word for key, value in asked.env.params.items() for word in ("--set", f"env.{key}={value}")]
    others = ",".join(f"{name}={who}" for name, who in sits.items() if name != role)
    told += ["--role", role, "--checkpoints", sits[role], *(["--roles", others] if others else [])]
    return called("tournament", *told)
