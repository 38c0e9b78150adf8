"""``env.features=auto``: features found anew on the training rows of every window, and on no later row.

What is found depends on the bars up to the last training row, on the seed and on how many formulas are tried, so the
fingerprint of a run determines it. A checkpoint keeps the texts, not the word.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from qframe_rl.alpha.ground import funding_rates
from qframe_rl.alpha.ideas import candidates
from qframe_rl.alpha.select import FormulaTest, FormulaTrials, FoundFeatures, SelectionRules, TooFewDates, bars_ahead
from qframe_rl.alpha.tree import Formula
from qframe_rl.config import Ref, UserError, listed, shortened
from qframe_rl.deploy import make_market
from qframe_rl.evaluate.trials import Trials
from qframe_rl.features import AUTO, FORMULA
from qframe_rl.gym.market import Market
from qframe_rl.risk.limits import Limits
from qframe_rl.runner.log import Screen
from qframe_rl.types import History, Segments

N_FORMULAS, MOST_FORMULAS = 200, 100_000
"""Formulas that are tried for each window where no number is said, and at most."""
MOST_LOOKBACK, _SHARE = 200, 5
"""Bars that a formula looks back at most; of few training rows at most a fifth."""
_ASKED = re.compile(rf"{AUTO}(?::(\d{{1,6}}))?")


def n_asked(env: Ref) -> int:
    """How many formulas ``auto`` or ``auto:N`` among a market's features asks for; 0 where neither stands there.

    Raises
    ------
    UserError
        For a number that is none, or too large.
    """
    found = [name for name in _named(env.params) if name.partition(":")[0] == AUTO]
    for name in found:
        read = _ASKED.fullmatch(name)
        if len(found) > 1 or read is None or not 1 <= int(read[1] or N_FORMULAS) <= MOST_FORMULAS:
            raise UserError(
                f"env.features: {shortened(name)} is not {AUTO} or {AUTO}:N, once, with N from 1 to {MOST_FORMULAS:,} "
                "formulas to try."
            )
        return int(read[1] or N_FORMULAS)
    return 0


def _named(params: Mapping[str, Any]) -> list[str]:
    """Features that a market's parameters name, as texts; what is wrong with them the market says itself."""
    given = params.get("features", ())
    named = listed(given) if isinstance(given, str) else given if isinstance(given, list | tuple) else ()
    return [name for name in named if isinstance(name, str)]


def with_found(env: Ref, found: FoundFeatures | None) -> Ref:
    """The market with what was found in the place of ``auto``; without any feature, its usual ones.

    Parameters
    ----------
    env
        The market that was asked for.
    found
        None = nothing.
    """
    texts = [FORMULA + text for text in found.texts] if found is not None else []
    named = [one for name in _named(env.params) for one in (texts if _ASKED.fullmatch(name) else [name])]
    rest = {key: value for key, value in env.params.items() if key != "features"}
    return Ref(name=env.name, params={**rest, **({"features": named} if named else {})})


def trials_of(history: History, train: Segments, seed: int) -> FormulaTrials:
    """What formulas are tested by on training rows.

    Parameters
    ----------
    history
        The bars; those after the last training row are not looked at.
    train
        Training rows.
    seed
        Root of all randomness.

    Raises
    ------
    UserError
        If there are too few.
    """
    rules = SelectionRules(bars_ahead(history.bar_ns))
    n_rows = sum(segment.n_bars for segment in train)
    lookback = min(MOST_LOOKBACK, n_rows // _SHARE)
    return FormulaTrials(
        history.values, history.time, history.bar_ns, history.columns, train, rules, lookback, _seed(seed),
        funding_rates(history),
    )  # fmt: skip


def candidates_of(trials: FormulaTrials, seed: int, most: int | None) -> Iterator[Formula]:
    """Formulas to be tested.

    Parameters
    ----------
    trials
        What they are tested by.
    seed
        Root of all randomness.
    most
        How many; None = as many as are asked for.
    """
    return candidates(
        trials.evaluator.columns, crosses=trials.among, most_lookback=trials.lookback, seed=_seed(seed), most=most
    )


def _seed(root: int) -> int:
    return zlib.crc32(f"{root}/features".encode()) & 0x7FFFFFFF


class FoldMarkets:
    """The market of each window: as it was asked for, or with the features that its training rows show.

    Parameters
    ----------
    env
        Market that was asked for.
    history
        The bars.
    limits
        Of the risk engine; None = the market's own.
    seed
        Root of all randomness.
    screen
        Told how far a search is, and what it found.
    lenient
        Where training rows are too few to find anything on, take the other features and say so; else it is an error.

    Raises
    ------
    UserError
        For what `qframe_rl.deploy.make_market` and `n_asked` refuse.
    """

    def __init__(
        self, env: Ref, history: History, limits: Limits | None, seed: int, screen: Screen, *, lenient: bool = False
    ):  # fmt: skip
        self.env, self.history, self.limits, self.seed, self.screen = env, history, limits, seed, screen
        self.lenient = lenient
        self.n_asked = n_asked(env)
        self.base = self._made(with_found(env, None) if self.n_asked else env)
        """The market, its scaler unfitted; with its usual features, or those that stand beside ``auto``."""
        self.found: dict[Segments, FoundFeatures] = {}
        """By training rows, in the order in which they were looked at."""
        self._markets: dict[Segments, Market] = {}

    @property
    def window(self) -> int:
        """Bars that the market's interface needs at most, whatever is found."""
        interface = self.base.interface
        more = MOST_LOOKBACK + interface.observer.n_rows - 1 if self.n_asked else 0
        return max(interface.window, more)

    def fitted(self, train: Segments) -> Market:
        """The market of some training rows, its scaler fitted on them; the same one for the same rows."""
        if train not in self._markets:
            market = self._made(with_found(self.env, self._search(train))) if self.n_asked else self.base
            self._markets[train] = market.fit([(self.history, train)])
        return self._markets[train]

    def describe(self) -> list[dict[str, Any]]:
        """What was found in each window, as plain data; empty without ``auto``."""
        return [
            {
                "train": [[segment.start, segment.stop] for segment in train],
                "features": [FORMULA + text for text in found.texts],
                **found.counts,
                "tests": [described(test) for test in found.tests],
            }
            for train, found in self.found.items()
        ]

    def counted(self, trials: Trials, run: str) -> list[dict[str, Any]]:
        """`describe`, once the ledger has counted what a run tried."""
        if self.found:
            trials.add_formulas(run, sum(len(found.tests) for found in self.found.values()), self.history)
        return self.describe()

    def _made(self, env: Ref) -> Market:
        history = self.history
        return make_market(env, history.instruments, history.columns, history.bar_ns, self.limits)

    def _search(self, train: Segments) -> FoundFeatures | None:
        """What is found on some training rows; None where they are too few."""
        usual = "the features beside auto" if len(_named(self.env.params)) > 1 else "the market's usual features"
        try:
            trials = trials_of(self.history, train, self.seed)
        except TooFewDates as error:
            if not self.lenient:
                raise
            self.screen.say(f"{str(error).partition(':')[0]}; {usual} are taken")
            return None
        title = f"find features {len(self.found) + 1}"
        self.screen.begin(title)
        for k, tree in enumerate(candidates_of(trials, self.seed, self.n_asked)):
            trials.test(tree)
            self.screen.advance(title, k + 1, self.n_asked, "formulas")
        self.found[train] = found = trials.outcome()
        self.screen.end(title, told(found))
        texts = ", ".join(FORMULA + text for text in found.texts)
        self.screen.say(f"features of these {found.n_dates:,} training rows: {texts or f'none; {usual} are taken'}")
        return found


def told(found: FoundFeatures) -> str:
    """One line: how many formulas came how far."""
    n = found.counts
    return (
        f"{n['tried']} formulas tried, {n['valid']} valid, {n['significant']} more than chance, "
        f"{n['clusters']} unlike, {n['steady']} steady, {n['found']} taken"
    )


def described(test: FormulaTest) -> dict[str, Any]:
    """A formula's test as plain data."""
    plain = {name: getattr(test, name) for name in ("ic", "rank_ic", "t", "p", "q", "signs", "cluster", "verdict")}
    return {"text": test.tree.text, "words": test.tree.words, **plain}
