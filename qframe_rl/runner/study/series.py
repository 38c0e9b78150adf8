"""Many studies as one configuration: every strategy on every market that it can trade, and one board of them all.

Strategies that take different actions see different environments, so a market is studied in parts; the parts share
bars, costs and the ledger. A finished part is taken over when the series is run again: an interrupted one goes on.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import Field

from qframe_rl.config import Base, UserError, build, nearest
from qframe_rl.runner.study.plan import Study

Tree = dict[str, Any]


class BoardPart(Base):
    """Strategies that are studied together."""

    agents: tuple[str, ...]
    """As in `Study`."""
    study: Tree = Field(default={})
    """Settings of this study alone, such as the actions of its environment."""


class BoardMarket(Base):
    """One market, and all that is studied on it."""

    name: str
    """A word for the command line."""
    study: Tree = Field(default={})
    """Settings of the studies of this market."""
    parts: tuple[BoardPart, ...] = Field(min_length=1)
    """Studied one after the other."""


class BoardPlan(Base):
    """Everything that decides what a series of studies does."""

    title: str
    """Heading of the picture."""
    study: Tree = Field(default={})
    """Settings of every study."""
    agent: dict[str, Tree] = Field(default={})
    """Parameters of strategies, by name or label, wherever they are studied."""
    markets: tuple[BoardMarket, ...] = Field(min_length=1)
    """The markets."""

    def studies(
        self, only: tuple[str, ...] = (), changed: Mapping[str, Any] | None = None,
        completed: Callable[[Tree], None] = lambda tree: None,
    ) -> Iterator[tuple[str, Study]]:  # fmt: skip
        """Studies in their order, each with what it is called.

        Parameters
        ----------
        only
            Names of markets; all without one.
        changed
            Settings that go before those of the file, in every study.
        completed
            Puts into the settings of a study what the plan leaves to the machine, such as where data lie.

        Raises
        ------
        UserError
            For a market that is not there, or settings that do not fit a study.
        """
        known = [one.name for one in self.markets]
        for name in only:
            if name not in known:
                raise UserError(f"--only {name}: there is no such market{nearest(name, known)}")
        for one in self.markets:
            if not only or one.name in only:
                for number, part in enumerate(one.parts, start=1):
                    labels = [text.partition("=")[0] for text in part.agents]
                    own = {label: self.agent[label] for label in labels if label in self.agent}
                    layers = [self.study, one.study, {"agent": own}, part.study, changed or {}]
                    tree = merged(*layers, {"agents": part.agents})
                    completed(tree)
                    title = f"{one.name}, part {number} of {len(one.parts)}"
                    yield title, build(Study, tree, title)


def merged(*layers: Mapping[str, Any]) -> Tree:
    """Lay trees of settings over each other; the last one that names a key has it."""
    out: Tree = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
            out[key] = merged(out[key], value) if both else copy.deepcopy(value)
    return out
