"""From a checkpoint to a book that can be quoted in, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple, get_type_hints

import numpy as np

from qframe_rl import catalog
from qframe_rl.book.micro import restored_micro
from qframe_rl.checkpoint import Checkpoint
from qframe_rl.config import Base, Ref, UserError, build
from qframe_rl.feeds.tick_load import TickHistory
from qframe_rl.gym.make import make_book
from qframe_rl.gym.replay.market import BookFacts, BookMarket
from qframe_rl.interface import Scaler
from qframe_rl.quoter import Quoter
from qframe_rl.runner.books.replay import as_quoter
from qframe_rl.runner.books.split import BookFold
from qframe_rl.runner.books.yardsticks import YARDSTICKS, yardstick
from qframe_rl.runner.identity import Code
from qframe_rl.runner.run_config import RunConfig
from qframe_rl.versions import versions


class DeployedBook(NamedTuple):
    """What quotes, and where."""

    market: BookMarket
    quoter: Quoter
    checkpoint: Checkpoint


def made_agent(name: str, config: Base | None, market: BookMarket, seed: int) -> Any:
    """An agent of the catalogue, or a yardstick, for a book.

    Parameters
    ----------
    name, config
        In the catalogue, and its own ``Config``; a yardstick has none.
    market, seed
        The book, and the root of the agent's randomness.

    Raises
    ------
    UserError
        If it trades bars and can do nothing else.
    """
    if name in YARDSTICKS:
        return yardstick(name, market.spec(seed))
    module = catalog.load("agents", name)
    kind = get_type_hints(module.make)["return"]
    if not hasattr(kind, "quote") and not hasattr(kind, "policy"):
        raise UserError(
            f"{name} trades bars and cannot quote in an order book; take {', '.join(catalog.quoters())}, or one that "
            "learns a policy, such as ppo."
        )
    return module.make(config, market.spec(seed))


def packed_book(
    agent: Any, named: Mapping[str, Any], seed: int, market: BookMarket, history: TickHistory, fold: BookFold,
    terms: RunConfig, identity: str, promotion: Mapping[str, Any], scores: list[dict[str, Any]], code: Code | None,
    tried: str | None = None,
) -> Checkpoint:  # fmt: skip
    """Make the checkpoint of an agent on a book: the counterpart of `deployed_book`.

    Parameters
    ----------
    agent, named, seed
        The agent as it was trained, its ``name`` and ``params``, and its seed.
    market, history, fold
        Fitted on the fold's training ticks; all ticks; how they were cut.
    terms, identity
        Of the run, and its fingerprint.
    promotion
        How it was chosen; ``reason`` says it in words.
    scores
        Leaderboard rows of the run.
    code
        That the agent consists of; None = a yardstick's.
    tried
        By what the ledger of trials knows it.
    """
    interface = market.interface
    return Checkpoint(
        agent=dict(named),
        env={"name": market.name, "params": terms.env.params},
        seed=seed,
        instruments=(market.instrument,),
        columns=(),
        bar_ns=0,
        interface={
            "kind": "book",
            "features": list(interface.specs),
            "n_rows": interface.n_rows,
            "mean": interface.scaler.mean.tolist(),
            "scale": interface.scaler.scale.tolist(),
            "micro": None if interface.micro is None else interface.micro.lean.tolist(),
            "facts": market.facts.model_dump(),
        },
        provenance={
            "fingerprint": identity,
            "data": history.describe(),
            "load": terms.data.model_dump(mode="json"),
            "periods": fold.periods(),
            "spans": fold.spans(),
            "choice": promotion["reason"],
            "promotion": dict(promotion),
            "code": {} if code is None else code.describe(),
            "trial": tried,
            "versions": versions(),
        },
        scores=scores,
        state=agent.state() if hasattr(agent, "fit") else {},
    )


def deployed_book(checkpoint: Checkpoint) -> DeployedBook:
    """The book and the strategy of a checkpoint; no code is run but that of the catalogue.

    Raises
    ------
    UserError
        If it is none of a book, names anything outside the catalogue, or its weights are not those of its agent.
    """
    if not checkpoint.of_book:
        raise UserError(f"the checkpoint of {checkpoint.agent['name']!r} trades bars, and quotes in no order book.")
    checkpoint.check_names()
    entry = checkpoint.interface
    book = make_book(Ref(**checkpoint.env), checkpoint.instruments[0])
    if list(book.interface.specs) != entry["features"] or book.interface.n_rows != entry["n_rows"]:
        raise UserError("the checkpoint's interface has other features than its environment; train it again.")
    micro = None if entry["micro"] is None else restored_micro({"lean": entry["micro"]})
    scaler = Scaler(np.array(entry["mean"], float), np.array(entry["scale"], float))
    facts = build(BookFacts, entry["facts"], "the checkpoint's facts")
    market = replace(book, interface=book.interface.with_scaler(scaler, micro), facts=facts)
    name = checkpoint.agent["name"]
    config = None
    if name not in YARDSTICKS:
        config = build(catalog.load("agents", name).Config, checkpoint.agent["params"], f"agent {name}")
    agent = made_agent(name, config, market, checkpoint.seed)
    if hasattr(agent, "restore"):
        try:
            agent.restore(checkpoint.state)
        except ValueError as error:
            raise UserError(f"the checkpoint's weights are not those of {name}: {error}.") from None
    return DeployedBook(market, as_quoter(agent, market.interface), checkpoint)
