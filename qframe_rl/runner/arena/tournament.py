"""Who is better in the seats of a role: all pairs in the same markets, and ratings with intervals.

Ratings are those of Bradley & Terry (1952), by the iteration of Hunter (2004), on the scale of Elo: 400 points are odds
of ten to one. Each agent has half a win and half a loss against a mean one besides, so that who never lost has a rating
too. Intervals come from resampled episodes (Efron, 1979), of all pairs together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from qframe_rl import catalog
from qframe_rl.arena.coin import CoinMarket
from qframe_rl.arena.game import Game
from qframe_rl.arena.play import play
from qframe_rl.arena.rules import PLAIN, NoSeat
from qframe_rl.arena.seats import BatchPolicy, roles_of, seats_of
from qframe_rl.config import UserError, fingerprint
from qframe_rl.evaluate.arena_plot import ratings_figure
from qframe_rl.evaluate.painted import write_png
from qframe_rl.runner.arena.experiment import check_params
from qframe_rl.runner.arena.kept import RATINGS
from qframe_rl.runner.arena.seated import game_of, learns, mark, market_root, rule
from qframe_rl.runner.arena.tournament_plan import TournamentPlan
from qframe_rl.runner.files import read_json, write_json
from qframe_rl.runner.log import Screen
from qframe_rl.types import Float
from qframe_rl.versions import code_fingerprint

ELO = 400.0 / math.log(10.0)
"""Points of a unit of the logarithm of odds."""
MEAN = 1500.0
_SEED = 1 << 44
OTHERS = {"maker": "glft", "taker": "noise", "execution": "idle"}
"""Who sits in the seats of other roles of an order book, unless it is said."""


class Rating(NamedTuple):
    """One agent's."""

    agent: str
    elo: float
    low: float
    high: float
    score: float
    """Share of episodes won, a tie counted half."""
    mean_return: float
    """Of an episode, over all opponents."""


class TournamentOutcome(NamedTuple):
    """What it came to."""

    folder: Path
    ratings: list[Rating]
    """The best first."""
    digest: str


def tournament(plan: TournamentPlan, runs: Path, screen: Screen, *, resume: bool = False) -> TournamentOutcome:
    """Let all pairs meet, and rate them.

    With two seats or more of the role, the two sit in the same market, every second seat each, and change places in
    every second market; with one, they sit in it one after the other in the same markets.

    Parameters
    ----------
    plan
        Who, and how often.
    runs
        Folder in which the tournament's folder is put.
    screen
        Told of the progress.
    resume
        Take the pairs over that an interrupted one had.

    Raises
    ------
    UserError
        If somebody does not sit there, or there are fewer than two.
    """
    game = game_of(plan.env, 1)
    seats_of(game, plan.role)
    acts, sat = _candidates(plan, game), _sat(plan, game)
    check_params(plan.agent, {*acts, *sat.values()})
    others = {role: rule(game, role, name, plan.agent.get(name, {})) for role, name in sat.items()}
    marks = {name: mark(name) for name in (*acts, *sat.values())}
    identity = fingerprint(plan.model_dump(mode="json"), code_fingerprint(), marks)
    folder = runs / f"tournament-{identity}"
    place, title = folder / "pairs.json", f"pairs of {plan.role}"
    found: dict[str, list[list[float]]] = read_json(place) if resume and place.exists() else {}
    pairs = list(combinations(acts, 2))
    screen.begin(title)
    for k, (a, b) in enumerate(pairs):
        if _key(a, b) not in found:
            made = partial(game_of, plan.env)
            found[_key(a, b)] = _meeting(made(plan.episodes), plan, acts[a], acts[b], others).tolist()
            folder.mkdir(parents=True, exist_ok=True)
            write_json(place, found)
        screen.advance(title, k + 1, len(pairs), f"{a} and {b}")
    screen.end(title, f"{len(pairs)} pairs, {plan.episodes} episodes each")
    results = {(a, b): np.array(found[_key(a, b)]) for a, b in pairs}
    ratings = rated(tuple(acts), results, plan.level, plan.resamples, plan.seed)
    digest = fingerprint({_key(*pair): of.tolist() for pair, of in results.items()})
    write_json(
        folder / RATINGS,
        {"plan": plan.model_dump(mode="json"), "ratings": [one._asdict() for one in ratings], "hash": digest},
    )
    figure = ratings_figure([one._asdict() for one in ratings], f"{plan.role} of {plan.env.name}")
    write_png(figure, folder / "ratings.png")
    return TournamentOutcome(folder, ratings, digest)


def rated(
    names: tuple[str, ...], results: Mapping[tuple[str, str], Float], level: float, resamples: int, seed: int
) -> list[Rating]:  # fmt: skip
    """Rate agents by what pairs of them earned.

    Parameters
    ----------
    names
        Of all.
    results
        (E, 2) returns of the first and the second of each pair, in each episode; episode e is the same market for all,
        so that a resample draws episodes for all pairs together.
    level, resamples, seed
        Of the intervals.
    """
    index = {name: k for k, name in enumerate(names)}
    pairs = np.array([[index[a], index[b]] for a, b in results])
    scores = np.array([0.5 * (1.0 + np.sign(of[:, 0] - of[:, 1])) for of in results.values()])
    rng = np.random.default_rng([seed, len(names)])
    elo = _elo(_wins(len(names), pairs, scores.sum(axis=1), scores.shape[1]))
    drawn = np.empty((resamples, len(names)))
    for r in range(resamples):
        won = scores[:, rng.integers(scores.shape[1], size=scores.shape[1])].sum(axis=1)
        drawn[r] = _elo(_wins(len(names), pairs, won, scores.shape[1]), elo)
    low, high = np.quantile(drawn, [0.5 - 0.5 * level, 0.5 + 0.5 * level], axis=0)
    rows = []
    for name, k in index.items():
        own = [(of[:, 0 if a == name else 1], s if a == name else 1.0 - s)
               for ((a, b), of), s in zip(results.items(), scores, strict=True) if name in (a, b)]  # fmt: skip
        rows.append(
            Rating(name, float(elo[k]), float(low[k]), float(high[k]), float(np.mean([s.mean() for _, s in own])),
                   float(np.mean([paid.mean() for paid, _ in own])))
        )  # fmt: skip
    return sorted(rows, key=lambda row: -row.elo)


def _wins(n: int, pairs: Any, won: Float, episodes: int) -> Float:
    """(n, n) how often row won against column."""
    wins = np.zeros((n, n))
    wins[pairs[:, 0], pairs[:, 1]] = won
    wins[pairs[:, 1], pairs[:, 0]] = episodes - won
    return wins


def _elo(wins: Float, start: Float | None = None) -> Float:
    """(n,) ratings whose mean is `MEAN`, looked for from those of ``start`` on."""
    met, won = wins + wins.T, wins.sum(axis=1) + 0.5
    strength = np.ones(len(wins)) if start is None else np.exp((start - MEAN) / ELO)
    for _ in range(10_000):
        share = (met / (strength[:, None] + strength)).sum(axis=1) + 1.0 / (strength + 1.0)
        after = won / share
        done = np.abs(np.log(after / strength)).max() < 1e-6
        strength = after
        if done:
            break
    logs = np.log(strength)
    found: Float = MEAN + ELO * (logs - logs.mean())
    return found


def _meeting(
    game: Game, plan: TournamentPlan, a: BatchPolicy, b: BatchPolicy, others: Mapping[str, BatchPolicy]
) -> Float:  # fmt: skip
    """(E, 2) mean returns of an agent of the first and of the second."""
    seats, seed = seats_of(game, plan.role), market_root(plan.seed) + _SEED
    if len(seats) == 1:
        seat = int(seats[0])
        return np.stack([play(game, others, seed, {seat: act})[:, seat] for act in (a, b)], axis=1)
    first, second = seats[0::2], seats[1::2]
    straight = play(game, others, seed, {int(s): a for s in first} | {int(s): b for s in second})
    turned = play(game, others, seed, {int(s): b for s in first} | {int(s): a for s in second})
    paid = np.stack([straight[:, first].mean(axis=1), straight[:, second].mean(axis=1)], axis=1)
    swapped = np.stack([turned[:, second].mean(axis=1), turned[:, first].mean(axis=1)], axis=1)
    even = np.arange(game.n_markets) % 2 == 0
    return np.where(even[:, None], paid, swapped)


def _candidates(plan: TournamentPlan, game: Game) -> dict[str, BatchPolicy]:
    """Who is rated."""
    asked = (*plan.agents, *plan.checkpoints)
    if len(set(asked)) < len(asked):
        raise UserError(f"agents: {', '.join(asked)} names one twice.")
    for name in asked:
        if name in catalog.names("agents") and learns(name):
            raise UserError(
                f"{name} is not trained here: train it with qframe train --env {plan.env.name} --roles "
                f"{plan.role}={name}, and give the folder of its checkpoint."
            )
    acts = {}
    for name in plan.agents or _usual(game):
        try:
            acts[name] = rule(game, plan.role, name, plan.agent.get(name, {}))
        except NoSeat:
            if plan.agents:
                raise
    acts |= {name: rule(game, plan.role, name, plan.agent.get(name, {})) for name in plan.checkpoints}
    if len(acts) < 2:
        raise UserError(f"{', '.join(acts) or 'nobody'}: at least two are needed to meet as {plan.role}.")
    return acts


_UNSEATED = frozenset({"external", "grid"})
"""Whom no seat of a coin's traders fits: who follows a column of decisions, and who orders at prices."""


def _usual(game: Game) -> tuple[str, ...]:
    """Who is rated where nobody is named; those whom no seat fits are left out."""
    if isinstance(game, CoinMarket):
        return ("noise", *(name for name in catalog.bar_agents() if not learns(name) and name not in _UNSEATED))
    return (*PLAIN, *catalog.quoters())


def _sat(plan: TournamentPlan, game: Game) -> dict[str, str]:
    """Who sits in the seats of other roles."""
    there = roles_of(game, np.arange(game.n_agents))
    for role in plan.roles:
        if role == plan.role or role not in there:
            raise UserError(f"roles: {role} is rated, or is nobody in {plan.env.name}; name other roles alone.")
    asked = {**OTHERS, **plan.roles}
    lacks = [role for role in there if role != plan.role and role not in asked]
    if lacks:
        raise UserError(f"roles: who is {lacks[0]}? Say it, as in --roles {lacks[0]}=noise.")
    return {role: asked[role] for role in there if role != plan.role}


def _key(a: str, b: str) -> str:
    return f"{a} : {b}"
