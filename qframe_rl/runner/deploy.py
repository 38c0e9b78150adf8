"""From names to things that trade: markets from references, and agents from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, Ref, UserError, build
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.interface import interface_from
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.experiment import versions
from qframe_rl.runner.files import period
from qframe_rl.runner.identity import Code
from qframe_rl.runner.terms import Terms
from qframe_rl.types import History, Instrument


def make_market(
    env: Ref, instruments: tuple[Instrument, ...], columns: tuple[str, ...], bar_ns: int, limits: Limits | None = None
) -> Market:
    """Make the market that a reference names, its scaler unfitted, with the limits that bind in it.

    Raises
    ------
    UserError
        For an unknown market or parameter, or instruments that it cannot trade.
    """
    name = env.name
    if name == "auto":
        name = "perp" if all(i.kind == "perpetual" for i in instruments) else "spot"
    module = catalog.load("envs", name)
    market: Market = module.make(build(module.Config, env.params, f"env {name}"), instruments, columns, bar_ns)
    return market if limits is None else replace(market, limits=limits)


def make_agent(
    name: str, config: Base, market: Market, columns: tuple[str, ...], seed: int, theory: Mapping[str, float] | None
) -> Agent:
    """Make a strategy for a market."""
    agent: Agent = catalog.load("agents", name).make(config, market.brief(columns, seed, theory))
    return agent


def packed(
    agent: Agent,
    named: Mapping[str, Any],
    seed: int,
    market: Market,
    history: History,
    fold: Fold,
    terms: Terms,
    identity: str,
    promotion: Mapping[str, Any],
    scores: list[dict[str, Any]],
    code: Code,
    tried: str | None = None,
) -> Checkpoint:
    """Make the checkpoint of an agent: the counterpart of `deployed`.

    Parameters
    ----------
    agent, named
        The agent as it was trained; its ``name`` and ``params``.
    seed
        With which it was trained.
    market
        Fitted on the fold's training rows.
    history, fold
        The bars, and those that were trained on and judged on.
    terms
        Of the run.
    identity
        Fingerprint of the run.
    promotion
        How it was chosen; ``reason`` says it in words.
    scores
        Leaderboard rows of the run.
    code
        That the agent consists of.
    tried
        By what the ledger knows it, if it was scored there.
    """
    return Checkpoint(
        agent=dict(named),
        env={"name": market.name, "params": terms.env.params},
        seed=seed,
        instruments=market.instruments,
        columns=history.columns,
        bar_ns=history.bar_ns,
        interface=market.interface.describe(),
        provenance={
            "fingerprint": identity,
            "data": history.describe(),
            "load": terms.data.model_dump(mode="json"),
            "risk": terms.risk.model_dump(mode="json", exclude_defaults=True),
            "periods": {part: period(history, getattr(fold, part)) for part in Fold._fields},
            "choice": promotion["reason"],
            "promotion": dict(promotion),
            "code": code.describe(),
            "trial": tried,
            "versions": versions(),
        },
        scores=scores,
        state=agent.state() if hasattr(agent, "fit") else {},  # type: ignore[attr-defined]
    )


def config_of(checkpoint: Checkpoint) -> Base:
    """Configuration of a checkpoint's agent.

    Raises
    ------
    UserError
        If the agent of that name has no such parameters, or if it, its market, or what they are made of lies outside
        the catalogue.
    """
    checkpoint.check_names()
    name = checkpoint.agent["name"]
    model: type[Base] = catalog.load("agents", name).Config
    try:
        return build(model, checkpoint.agent["params"], f"checkpoint of agent {name}")
    except UserError as error:
        raise UserError(
            f"{str(error).rstrip('.')}: it was made by another version of {name}; train it again with "
            f"experiments.train --agents {name}, or take one that ships with this version."
        ) from None


def deployed(
    checkpoint: Checkpoint,
    instruments: tuple[Instrument, ...],
    columns: tuple[str, ...],
    bar_ns: int,
    origin: str,
    theory: Mapping[str, float] | None = None,
) -> tuple[Market, Agent]:
    """Make the market and the trained agent of a checkpoint, for a feed that fits it.

    Parameters
    ----------
    checkpoint
        As it was loaded.
    instruments, columns, bar_ns
        What the feed delivers.
    origin
        Name of the data, for messages.
    theory
        Constants of the known optimum, if the data have one.

    Raises
    ------
    UserError
        If the data do not fit, if a name is not in the catalogue, or if the weights do not fit the agent.
    """
    config = config_of(checkpoint)
    checkpoint.check_fits(instruments, columns, bar_ns, origin)
    market = make_market(Ref(**checkpoint.env), instruments, columns, bar_ns)
    market = replace(market, interface=interface_from(checkpoint.interface))
    name = checkpoint.agent["name"]
    agent = make_agent(name, config, market, columns, checkpoint.seed, theory)
    if hasattr(agent, "restore"):
        try:
            agent.restore(checkpoint.state)
        except (KeyError, ValueError) as error:
            raise UserError(f"the checkpoint's weights do not fit agent {name!r}: {error}.") from None
    return market, agent
