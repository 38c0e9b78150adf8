"""From names to things that trade: markets from references, and agents from checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qframe_rl.agent import Agent
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.evaluate.splits import Fold
from qframe_rl.gym.market import Market
from qframe_rl.runner.auto_features import n_asked
from qframe_rl.runner.files import period
from qframe_rl.runner.identity import Code
from qframe_rl.runner.run_config import RunConfig
from qframe_rl.types import History
from qframe_rl.versions import versions


def packed(
    agent: Agent,
    named: Mapping[str, Any],
    seed: int,
    market: Market,
    history: History,
    fold: Fold,
    terms: RunConfig,
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
        env={"name": market.name, "params": _as_made(terms, market)},
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
            "level": terms.level,
            "versions": versions(),
        },
        scores=scores,
        state=agent.state() if hasattr(agent, "fit") else {},  # type: ignore[attr-defined]
    )


def _as_made(terms: RunConfig, market: Market) -> dict[str, Any]:
    """Parameters of the market; where features were found, their names in the place of the word that asked for it."""
    if not n_asked(terms.env):
        return terms.env.params
    return {**terms.env.params, "features": [feature.name for feature in market.interface.observer.features]}
