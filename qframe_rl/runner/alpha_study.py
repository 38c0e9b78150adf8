"""Mined formulas judged year by year: each year's pool is mined on what came before it, beside known factors and luck.

What a search finds fits the bars that it was found on, by luck above all. So a pool is judged on the year after, once,
next to factors that anyone knows, and to pools that the same search finds where returns were shuffled.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field, field_validator

from qframe_rl.alpha.ground import LEAST_DATES, Ground, usual_ahead
from qframe_rl.alpha.growing import Mode
from qframe_rl.alpha.judged import rows_of_ic
from qframe_rl.alpha.mine import MinedFormula, MiningRules, mined_formula, that_count, weighed
from qframe_rl.alpha.net import held_book
from qframe_rl.alpha.null import MiningPlan, NullResult, Shuffle, against_luck, pool_says
from qframe_rl.alpha.operators import LEAST_MEMBERS
from qframe_rl.alpha.parser import number
from qframe_rl.alpha.pool import Weighing
from qframe_rl.alpha.score import coefficients, dates_of, newey_west
from qframe_rl.alpha.search import SearchName
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import Base, UserError, build, fingerprint
from qframe_rl.evaluate.trial import trial_of
from qframe_rl.evaluate.trials import Trials
from qframe_rl.feeds.data import DataConfig
from qframe_rl.feeds.load import load
from qframe_rl.runner.files import read_json, write_json
from qframe_rl.times import SECOND, YEAR, iso
from qframe_rl.types import Float, History, Int
from qframe_rl.versions import code_fingerprint

MOMENTUM, VOLATILITY = "ret(close, 40)", "std(ret1, 20)"
CLASSICAL = (
    MOMENTUM, "ret(close, 10)", "neg(ret(close, 5))", VOLATILITY, "neg(tsz(close, 20))", "log(mean(money, 20))",
    "neg(corr(close, volume, 10))", "tsz(volume, 20)", "slope(log(close), 20)", "mean((close - low) / (high - low), 5)",
)  # fmt: skip
"""Ten formulas that anyone knows: trends, reversals, risk, what is traded, price beside volume."""
SHUFFLES: tuple[Shuffle, ...] = ("coins", "blocks")
_SEARCHED = ("pool", "best single")
"""What is judged of a search."""


class AlphaStudyPlan(Base):
    """What is mined, and how it is judged."""

    data: DataConfig = Field(default=DataConfig())
    """The bars."""
    search: SearchName = "genetic"
    """random, genetic, policy or risk: see docs/alphas.md."""
    n_formulas: int = Field(default=1000, ge=1, le=10_000_000)
    """Distinct formulas that each year's pool is made from."""
    n_years: int = Field(default=4, ge=1, le=100)
    """Calendar years, the last of the bars, each judged by what was mined on all bars before it."""
    horizon_bars: int = Field(default=0, ge=0, le=1_000_000)
    """Bars that a label looks ahead and a decision is held. 0 = a day of bars that are shorter than one, else five."""
    judged_by: Mode = "net"
    """What a formula is paid for: net, the pool's Sharpe ratio after costs, or ic, its correlations."""
    weighing: Weighing = "ridge"
    """ridge, nonnegative or l1."""
    n_largest: int = Field(default=0, ge=0, le=1_000_000)
    """Coins that are ranked, by turnover; 0 = all."""
    leader: bool = False
    """Whether formulas may read the market's leader, the coin of the largest turnover."""
    cost_bps: float = Field(default=10.0, ge=0.0, le=10_000.0)
    """Fee and half-spread, basis points of what is traded."""
    n_null: int = Field(default=5, ge=0, le=100_000)
    """The same search on shuffled returns, so many times for each year and each way of shuffling; 20 and more tell a
    probability of .05."""
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    """Root of all randomness."""

    @field_validator("n_largest")
    @classmethod
    def _ranked(cls, value: int) -> int:
        if 0 < value < LEAST_MEMBERS:
            raise ValueError(f"ranks need {LEAST_MEMBERS} coins or more; 0 takes all")
        return value

    @property
    def mining(self) -> MiningPlan:
        """The search of each year."""
        return MiningPlan(self.search, self.n_formulas, self.seed, MiningRules(self.judged_by, self.weighing))

    def ahead(self, bar_ns: int) -> int:
        """Bars of the label, h."""
        return self.horizon_bars or usual_ahead(bar_ns)


class Course(NamedTuple):
    """Formulas with weights on the bars of one year."""

    times: Int
    """(N,) closes at which was decided, ns UTC."""
    ics: Float
    """(D,) of each date."""
    rank_ics: Float
    """(D,); NaN where instruments are too few to be ranked."""
    returns: Float
    """(N,) of the net book per bar."""
    turnover: Float
    """(N,) traded a bar, fraction of the book."""


class AlphaStudyRow(NamedTuple):
    """One way of choosing formulas, over all years that were judged."""

    name: str
    ic: float
    t: float
    """Newey-West t of the mean IC."""
    rank_ic: float
    sharpe: float
    """Of the net book, a year."""
    by_year: dict[int, float]
    """The same of each year."""
    turnover: float
    """Traded a year, times the size of the book."""
    length: float
    """Years of bars that were judged; the last calendar year may have few."""

    @property
    def error(self) -> float:
        """Standard error of the Sharpe ratio a year, were returns independent and the ratio small (Lo, 2002)."""
        return math.sqrt(1.0 / self.length)

    def plain(self) -> dict[str, Any]:
        """As plain data; what is not known is null."""
        return {
            **self._asdict(), "rank_ic": None if math.isnan(self.rank_ic) else self.rank_ic, "error": self.error
        }  # fmt: skip


class AlphaStudyYear(Base):
    """What was mined for one year; it is kept, so that a study that was broken off goes on."""

    year: int
    value: float
    """J of the pool on the bars before."""
    ic: float
    """Its IC there."""
    members: tuple[MinedFormula, ...]
    best: MinedFormula | None
    """The single formula of the largest IC there; its weight is its sign."""
    calls: int
    distinct: int
    refused: dict[str, int]
    """As `qframe_rl.alpha.mine.Mined` has them."""
    n_effective: float
    nulls: tuple[NullResult, ...]
    """The same search on shuffled returns, one for each way of shuffling; its validation is the year itself."""


class AlphaStudy(NamedTuple):
    """The whole."""

    rows: tuple[AlphaStudyRow, ...]
    """The pool, the best single formula of each search, and known factors."""
    courses: dict[str, tuple[Int, Float]]
    """Times (N,), ns UTC, and returns per bar (N,) of the net book of each row."""
    years: tuple[AlphaStudyYear, ...]
    history: History
    folder: Path

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "rows": [row.plain() for row in self.rows],
            "years": [one.model_dump(mode="json") for one in self.years],
            "data": self.history.fingerprint,
        }


Stages = Callable[[str, int, int], None]
"""Told what is done, how many searches are, and of how many."""


def alpha_study(
    plan: AlphaStudyPlan, runs: Path, told: Stages | None = None, ledger: Path | None = None
) -> AlphaStudy:  # fmt: skip
    """Mine, and judge, year by year; what was searched for is a look at the bars that judged it.

    Parameters
    ----------
    plan
        What is mined, and how it is judged.
    runs
        Folder of runs; years that an interrupted study had are taken over from it.
    told
        Told of each search.
    ledger
        File of the ledger of trials; None = the user's.

    Raises
    ------
    UserError
        If there are too few years, or too few bars before the first of them.
    """
    history = load(plan.data)
    asked = plan.model_dump(mode="json", exclude={"data"})
    folder = runs / "mine" / fingerprint(asked, history.fingerprint, code_fingerprint())
    spans = _years(history, plan)
    known = _classical(history, plan, [start for start, _ in spans.values()])
    total, done = len(spans) * (1 + len(SHUFFLES) * plan.n_null), 0

    def step(what: str, _: int = 0) -> None:
        nonlocal done
        done += 1
        if told is not None:
            told(what, done, total)

    ways: dict[str, dict[int, Course]] = {}
    years = []
    for year, (start, stop) in spans.items():
        train, test = (_ground(history, plan, *rows) for rows in ((0, start), (start, stop)))
        place = folder / f"{year}.json"
        if place.is_file():
            years.append(build(AlphaStudyYear, read_json(place), str(place)))
            done += len(SHUFFLES) * plan.n_null
            step(f"{year}: mined before")
        else:
            years.append(_mined(year, plan, train, test, step))
            write_json(place, years[-1].model_dump(mode="json"))
        for name, members in _rivals(years[-1], train, known).items():
            ways.setdefault(name, {})[year] = _course(members, test)
    rows = tuple(_row(name, courses, history.bar_ns, plan) for name, courses in ways.items())
    courses = {
        name: (np.concatenate([c.times for c in of.values()]), np.concatenate([c.returns for c in of.values()]))
        for name, of in ways.items()
    }
    study = AlphaStudy(rows, courses, tuple(years), history, folder)
    _count(study, plan, Trials.opened(ledger, runs))
    write_json(folder / "study.json", study.plain())
    return study


def _count(study: AlphaStudy, plan: AlphaStudyPlan, trials: Trials) -> None:
    """Put on the ledger what was searched for and judged, and how many formulas were tried for it."""
    history, run, looks = study.history, study.folder.name, []
    for name in _SEARCHED:
        times, returns = study.courses[name]
        span = iso(int(times[0])), iso(int(times[-1]) + 2 * history.bar_ns)
        looks.append(
            trial_of(returns, span, history, kind="mine", run=run, agent=f"mined {name}", params=name,
                     config=[name, run], seed=plan.seed, fold=0)
        )  # fmt: skip
    trials.add(looks, history)
    trials.add_formulas(run, sum(one.distinct for one in study.years), history)


def _mined(year: int, plan: AlphaStudyPlan, train: Ground, test: Ground, step: Callable[..., None]) -> AlphaStudyYear:
    """Mine on all that came before a year, and where returns were shuffled."""
    made = plan.mining.mined(train)
    step(f"{year}: J {made.value:+.3f} before it")
    nulls = tuple(
        against_luck(made, plan.mining, train, shuffle, plan.n_null, test, partial(step, f"{year}: shuffled {shuffle}"))
        for shuffle in SHUFFLES
        if plan.n_null
    )
    return AlphaStudyYear(
        year=year, value=made.value, ic=made.ic, members=made.members, best=made.best, calls=made.calls,
        distinct=made.distinct, refused=made.refused, n_effective=made.n_effective, nulls=nulls,
    )  # fmt: skip


def _years(history: History, plan: AlphaStudyPlan) -> dict[int, tuple[int, int]]:
    """Rows of the last calendar years, whole or up to the last bar; one that has hardly begun is left out."""
    of = np.array([datetime.fromtimestamp(int(t) // SECOND, UTC).year for t in history.time - history.bar_ns])
    known, counts = np.unique(of, return_counts=True)
    years = known[counts >= LEAST_DATES + plan.ahead(history.bar_ns) + 1].tolist()[-plan.n_years :]
    if len(years) < plan.n_years or of[0] >= years[0]:
        raise UserError(
            f"bars from {iso(int(history.time[0]))} to {iso(int(history.time[-1]))} hold no {plan.n_years} calendar "
            "years with bars before them; take a longer period, or fewer by --years."
        )
    return {year: (int(np.searchsorted(of, year)), int(np.searchsorted(of, year, side="right"))) for year in years}


def _ground(history: History, plan: AlphaStudyPlan, start: int, stop: int) -> Ground:
    made = Ground.of(history, plan.ahead(history.bar_ns), plan.cost_bps * 1e-4, plan.n_largest, start, stop)
    made = replace(made, leads=plan.leader)
    if not dates_of(made.seen).any():
        asked = f"{LEAST_MEMBERS} instruments have" if made.crosses else "an instrument has"
        raise UserError(
            f"bars from {iso(int(history.time[start]))} to {iso(int(history.time[stop - 1]))}: in none of them "
            f"{asked} traded in 60 of the last 90; take a longer period, fewer years, or instruments that trade longer."
        )
    return made


def _classical(history: History, plan: AlphaStudyPlan, starts: Sequence[int]) -> tuple[Formula, ...]:
    """The known formulas that count before each of the years: where no volume is known, those of volume do not."""
    trees = tuple(number(text) for text in CLASSICAL)
    for start in starts:
        trees = that_count(_ground(history, plan, 0, start), trees)
    return trees


def _rivals(
    mined: AlphaStudyYear, train: Ground, classical: Sequence[Formula]
) -> Mapping[str, Sequence[MinedFormula]]:  # fmt: skip
    """What is judged on the year after: formulas with weights that were known before it."""
    known = {"momentum 40": [mined_formula(number(MOMENTUM), 1.0)]}
    known["low volatility 20"] = [mined_formula(number(f"neg({VOLATILITY})"), 1.0)]
    if classical:
        weight = weighed(train, classical).tolist()
        known[f"{len(classical)} classical"] = [mined_formula(*one) for one in zip(classical, weight, strict=True)]
    best = [] if mined.best is None else [mined.best]
    return {**dict(zip(_SEARCHED, (mined.members, best), strict=True)), **known}


def _course(members: Sequence[MinedFormula], test: Ground) -> Course:
    times = test.times[test.start : test.stop - 2]
    if not members:
        nothing = np.zeros(len(times))
        silent = np.zeros(int(dates_of(test.seen & ~np.isnan(test.followed.label)).sum()))
        return Course(times, silent, silent, nothing, nothing)
    says, label = pool_says(members, test), test.followed.label
    if test.crosses:
        both = coefficients(says, test.seen, label)
        both[~dates_of(test.seen & ~np.isnan(label))] = np.nan
    else:
        ics = rows_of_ic(says, label, test.seen)
        both = np.stack([ics, np.full(len(ics), np.nan)], axis=1)
    book = held_book(says, test.followed.moves, test.n_ahead, test.cost)
    dates = ~np.isnan(both[:, 0])
    return Course(times, both[dates, 0], both[dates, 1], book.returns[:-2], book.turnover[:-2])


def _row(name: str, courses: Mapping[int, Course], bar_ns: int, plan: AlphaStudyPlan) -> AlphaStudyRow:
    _, ics, ranks, returns, turnover = (np.concatenate(part) for part in zip(*courses.values(), strict=True))
    per_year = YEAR / bar_ns
    return AlphaStudyRow(
        name, float(ics.mean()), newey_west(ics, plan.ahead(bar_ns)), float(ranks.mean()), _sharpe(returns, per_year),
        {year: _sharpe(course.returns, per_year) for year, course in courses.items()},
        float(turnover.mean()) * per_year, len(returns) / per_year,
    )  # fmt: skip


def _sharpe(returns: Float, per_year: float) -> float:
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return float(returns.mean()) / spread * math.sqrt(per_year) if spread > 0.0 else 0.0
