"""Collect a dataset of steps: make the environment and those who walk in it, and write what they live."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from qframe_rl import catalog
from qframe_rl.agent import Agent
from qframe_rl.checkpoint import load_checkpoint
from qframe_rl.config import Ref, UserError, build
from qframe_rl.deploy import deployed, make_agent, make_market
from qframe_rl.feeds.data import DataConfig
from qframe_rl.gym.make import make_problem
from qframe_rl.gym.market import Market, whole
from qframe_rl.gym.problem import Act
from qframe_rl.offline.dataset import HISTORY, KNOWN_UNTIL, dataset_digest, library
from qframe_rl.offline.mix import Walker, described, mixed, weighed
from qframe_rl.offline.walk import enough, walk_market, walk_problem
from qframe_rl.offline.write import Episode, place_of, write_dataset
from qframe_rl.runner.collection import Collection
from qframe_rl.runner.loading import bars_of
from qframe_rl.runner.log import Screen
from qframe_rl.types import Float, History, parse_time
from qframe_rl.versions import versions

ORACLE, RANDOM = "oracle", "random"
REFERENCE_EPISODES, WEIGHING_EPISODES = 256, 2048
"""Of which the returns of chance and of the optimum are told, and the worth of a mixture that is weighed."""
_HALVINGS = 12

FindCheckpoint = Callable[[str], Path]
"""Folder that a text means where a checkpoint is asked for."""


class Collected(NamedTuple):
    """What came of a collection."""

    dataset: str
    """Minari's id."""
    folder: Path
    digest: str
    """Of its content, see `qframe_rl.offline.dataset.OfflineDataset`."""
    steps: int
    episodes: int
    mix: str
    """Who walked, with the weights that were taken."""
    reward: float
    """Mean of a step."""
    share: float | None
    """What its whole episodes were worth, as a share of the optimum on the same episodes; None in a market."""


def collect(asked: Collection, screen: Screen, find: FindCheckpoint = Path, *, overwrite: bool = False) -> Collected:
    """Walk and write.

    Parameters
    ----------
    asked
        What to do.
    screen
        Told of the progress.
    find
        Finds the folders of checkpoints.
    overwrite
        Put the dataset in the place of one of that id.

    Raises
    ------
    UserError
        For anything in ``asked`` that the user can mend, and if there is a dataset of that id.
    """
    library()
    mix = mixed(asked.mix)
    problem = asked.env.name in catalog.problems()
    if asked.share is not None and not problem:
        raise UserError(f"share: the optimum of {asked.env.name} is not known as a policy; leave it out.")
    if asked.env.name in (*catalog.order_books(), *catalog.games()):
        raise UserError(
            f"{asked.env.name}: datasets are walked on markets of bars and on problems, not on order books or among "
            "many agents."
        )
    walk = (_Problem if problem else _Market)(asked, mix, screen, find)
    name = asked.id or _named(walk.env_name, asked, mix)
    if place_of(name).exists() and not overwrite:
        raise UserError(f"there is a dataset {name} in {place_of(name)}; give another --id, or --overwrite.")
    title, told = f"walk {walk.env_name}", _Told()
    screen.begin(title)
    episodes = enough(walk.episodes(), asked.steps, lambda done: screen.advance(title, done, asked.steps))
    text = described(walk.mix, asked.by)
    facts = {
        "algorithm_name": text,
        "description": f"{asked.steps:,} steps of {walk.env_name}, walked by {text}, from seed {asked.seed}.",
        "requirements": [f"qframe-rl>={versions()['qframe-rl']}"],
        **walk.facts(),
    }
    folder = write_dataset(name, walk.env, told(episodes), facts, overwrite=overwrite)
    share = walk.share(told.episodes) if told.episodes else None
    screen.end(title, f"{told.steps:,} steps, {told.count:,} episodes")
    return Collected(
        name, folder, dataset_digest(str(folder)), told.steps, told.count, text, told.paid / told.steps, share
    )


class _Told:
    """Counts episodes on their way, and keeps the rewards of whole ones."""

    def __init__(self) -> None:
        self.steps = self.count = 0
        self.paid = 0.0
        self.episodes: list[Float] = []

    def __call__(self, episodes: Iterator[Episode]) -> Iterator[Episode]:
        for episode in episodes:
            self.steps, self.count = self.steps + len(episode.rewards), self.count + 1
            self.paid += float(episode.rewards.sum())
            self.episodes.append(episode.rewards)
            yield episode


class _Problem:
    """A walk through a problem."""

    def __init__(self, asked: Collection, mix: tuple[Walker, ...], screen: Screen, find: FindCheckpoint):
        self.asked, self.env_name = asked, asked.env.name
        self.problem = make_problem(asked.env)
        self.env = gymnasium.make(catalog.env_id(asked.env.name), **asked.env.params)
        self.actors = [self._actor(one) for one in mix]
        self.mix = mix
        if asked.share is not None:
            screen.begin("weigh")
            self.mix = weighed(mix, self._weights(asked.share))
            screen.end("weigh", described(self.mix, asked.by))

    def episodes(self) -> Iterator[Episode]:
        weights = np.array([one.weight for one in self.mix])
        return walk_problem(self.problem, self.actors, weights, self.asked.by, self.asked.seed)

    def facts(self) -> dict[str, Any]:
        """Returns of chance and of the optimum, between which Minari normalises scores."""
        known = {"ref_min_score": None, "ref_max_score": self.problem.theory().policy}
        returns = {name: self._lived([actor], REFERENCE_EPISODES) for name, actor in known.items()}
        means = {name: float(np.mean([one.sum() for one in each])) for name, each in returns.items()}
        return {**means, "num_episodes_average_score": REFERENCE_EPISODES}

    def share(self, rewards: Sequence[Float]) -> float:
        """What episodes are worth beside the optimum in the same ones; the last, which may be cut off, aside."""
        whole = rewards[: max(1, len(rewards) - 1)]
        best = self._lived([self.problem.theory().policy], len(whole))
        return _share(self._worth(whole), self._worth(best))

    def _actor(self, one: Walker) -> Callable[[], Act] | None:
        if one.name == RANDOM:
            return None
        if one.name == ORACLE:
            params = {**self.asked.env.params, **one.params}
            return make_problem(Ref(name=self.env_name, params=params)).theory().policy
        raise UserError(
            f"mix {one.text!r}: on a problem walk {ORACLE}, with other parameters or its own, and {RANDOM}."
        )

    def _lived(
        self, actors: Sequence[Callable[[], Act] | None], n: int, weights: Sequence[float] = (1.0,)
    ) -> list[Float]:
        """Rewards of the first n episodes of this walk, if others walked it."""
        walk = walk_problem(self.problem, actors, np.array(weights), self.asked.by, self.asked.seed)
        return [episode.rewards for episode in islice(walk, n)]

    def _worth(self, rewards: Sequence[Float]) -> float:
        """Mean score of episodes."""
        problem = self.problem
        if problem.score == "average":
            return float(np.mean([one.mean() for one in rewards]))
        discount = problem.discount if problem.score == "discounted" else 1.0
        return float(np.mean([(one * discount ** np.arange(len(one))).sum() for one in rewards]))

    def _weights(self, share: float) -> Float:
        """Weights of two walkers at which they are worth a share of the optimum, by halving."""
        if len(self.actors) != 2:
            raise UserError(
                f"share weighs two who walk, not {len(self.actors)}; name two, such as --mix oracle,random."
            )
        optimum = self._worth(self._lived([self.problem.theory().policy], WEIGHING_EPISODES))

        def worth(first: float) -> float:
            lived = self._lived(self.actors, WEIGHING_EPISODES, (first, 1.0 - first))
            return _share(self._worth(lived), optimum)

        low, high, ends = 0.0, 1.0, (worth(0.0), worth(1.0))
        if not min(ends) <= share <= max(ends):
            raise UserError(
                f"share {share:g}: the two alone are worth {ends[1]:.0%} and {ends[0]:.0%} of the optimum, and it does "
                "not lie between them."
            )
        for _ in range(_HALVINGS):
            middle = 0.5 * (low + high)
            low, high = (low, middle) if (worth(middle) > share) == (ends[1] > ends[0]) else (middle, high)
        return np.array([low, 1.0 - low])


def _share(worth: float, optimum: float) -> float:
    """Worth beside the optimum, as `qframe_rl.runner.solve.solve.ShareOfOptimum` has it."""
    return optimum / worth if optimum < 0.0 else worth / optimum


class _Market:
    """A walk through a market of bars."""

    def __init__(self, asked: Collection, mix: tuple[Walker, ...], screen: Screen, find: FindCheckpoint):
        self.asked, self.mix = asked, mix
        screen.begin("load data")
        self.history: History = bars_of(asked.data, screen)
        screen.end("load data", f"{len(self.history)} bars of {', '.join(self.history.symbols)}")
        h = self.history
        made = make_market(asked.env, h.instruments, h.columns, h.bar_ns, asked.risk)
        if made.paths is not None:
            raise UserError("env.paths: steps are collected on bars as they were; leave it out.")
        self.market: Market = made.fit([(h, whole(h))])
        self.env_name, self.known = made.name, int(h.time[-1])
        self.actors = [self._actor(one, find) for one in mix]
        self.env = gymnasium.make(
            catalog.env_id(made.name), history=_recipe(asked.data), **_limits(asked), **asked.env.params
        )

    def episodes(self) -> Iterator[Episode]:
        weights = np.array([one.weight for one in self.mix])
        return walk_market(self.market, self.history, self.actors, weights, self.asked.by, self.asked.seed)

    def facts(self) -> dict[str, Any]:
        return {HISTORY: [self.history.fingerprint], KNOWN_UNTIL: self.known}

    def share(self, rewards: Sequence[Float]) -> float | None:
        return None

    def _actor(self, one: Walker, find: FindCheckpoint) -> Agent | None:
        h = self.history
        if one.name == RANDOM and not one.params:
            return None
        if one.name == ORACLE and h.theory is None:
            raise UserError(f"mix {one.text!r}: the optimum of {h.source.origin} is not known; name a strategy.")
        name = "optimal" if one.name == ORACLE else one.name
        if name not in catalog.names("agents"):
            return self._trained(find(name))
        config = build(catalog.load("agents", name).Config, one.params, f"mix {one.text}")
        agent = make_agent(name, config, self.market, h.columns, self.asked.seed, h.theory)
        if not hasattr(agent, "fit"):
            return agent
        if one.params or not find(name).is_dir():
            raise UserError(f"mix {one.text!r}: {name} learns; train it, and name the folder of its checkpoint.")
        return self._trained(find(name))

    def _trained(self, folder: Path) -> Agent:
        """The agent of a checkpoint: what it knows of later bars, its steps know."""
        found, h = load_checkpoint(folder), self.history
        agent = deployed(found, h.instruments, h.columns, h.bar_ns, h.source.origin, h.theory)[1]
        self.known = max(self.known, parse_time(str(found.provenance["data"]["last"])))
        return agent


def _recipe(data: DataConfig) -> dict[str, Any]:
    """What makes the bars again, as a specification holds it."""
    return {"data": data.data, **data.model_dump(mode="json", exclude_defaults=True)}


def _limits(asked: Collection) -> Mapping[str, Any]:
    given = asked.risk.model_dump(mode="json", exclude_defaults=True)
    return {"risk": given} if given else {}


def _named(env: str, asked: Collection, mix: Sequence[Walker]) -> str:
    """Id of a dataset that was given none."""
    text = "-".join([*(one.text for one in mix), *([] if asked.share is None else [f"share-{asked.share:g}"])])
    return f"qframe/{env}/{re.sub(r'[^A-Za-z0-9]+', '-', text).strip('-').lower()}-v0"
