"""The market's leader in formulas: who it is, who may read it, and that a search finds who follows it."""

from __future__ import annotations

import numpy as np
import pytest

from experiments import features as features_door
from experiments.cli import door
from qframe_rl.alpha.canonical import canonical, is_positive
from qframe_rl.alpha.cross import leaders, universe
from qframe_rl.alpha.grammar import Vocabulary
from qframe_rl.alpha.mine import mine
from qframe_rl.alpha.panel import Evaluator
from qframe_rl.alpha.parser import parse
from qframe_rl.config import UserError
from qframe_rl.interface.observer import Observer
from qframe_rl.types import CLOSE, HOUR, VOLUME
from tests.alpha.draws import bars
from tests.alpha.grounds import planted

FOLLOWS = "beta(ret1,leader(ret1),20)"


def test_who_leads_is_known_by_then() -> None:
    values, times = bars(300, 9, seed=4)
    members = universe(values)
    whole = leaders(values, members)
    assert (whole[:89] == -1).all() and len(set(whole[89:].tolist())) > 1
    rng, cut = np.random.default_rng(0), 200
    other = values.copy()
    other[cut:, :, CLOSE : VOLUME + 1] *= np.exp(rng.standard_normal(other[cut:, :, CLOSE : VOLUME + 1].shape))
    assert np.array_equal(leaders(other, universe(other))[:cut], whole[:cut])
    tree = parse("leader(ret1)")
    mine = Evaluator(values, times, HOUR, ("signal",)).value(tree)
    own = Evaluator(values, times, HOUR, ("signal",)).value(parse("ret1"))
    for t in (120, 250):
        assert np.array_equal(mine[t], np.full(9, own[t, whole[t]]), equal_nan=True)


def test_a_search_writes_it_only_where_it_is_told_to() -> None:
    plain, led = Vocabulary(), Vocabulary(leads=True)
    assert [token for token in led.tokens if token not in plain.tokens] == ["leader"]
    assert led.decode(led.encode(parse(FOLLOWS))) == parse(FOLLOWS)
    with pytest.raises(UserError, match="leader"):
        plain.encode(parse(FOLLOWS))
    assert planted(n=10).vocabulary.tokens == plain.tokens
    assert "leader" in planted(n=3, leads=True).vocabulary.index
    assert "leader" not in planted(n=1, leads=True).vocabulary.index


def test_forms_of_it() -> None:
    assert canonical(parse("leader(leader(close))")).text == "leader(close)"
    assert is_positive(parse("leader(close)")) and not is_positive(parse("leader(ret1)"))
    assert (parse("leader(ret1)").least, parse("rank(leader(ret1))").least, parse("ret1").least) == (2, 8, 1)
    assert parse(FOLLOWS).lookback == 90 + 19


def test_one_coin_has_no_leader(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="needs 2 or more"):
        Observer(("alpha:leader(ret1)",), 1, 1, bar_ns=HOUR)
    assert Observer(("alpha:leader(ret1)",), 1, 2, bar_ns=HOUR).lookback == 90
    assert door(features_door.main, ["explain", "leader(ret1)", "--data", "synthetic:gbm"]) == 2
    assert "needs 2 or more" in " ".join(capsys.readouterr().err.split())


def test_a_search_finds_what_goes_with_the_leader() -> None:
    with_it, without = (planted("ret1 * leader(ret1)", 400, 12, 3, 1.0, leads=leads) for leads in (True, False))
    found, blind = (mine(ground, "genetic", 200, 0, "ic") for ground in (with_it, without))
    best = max(found.members, key=lambda one: abs(one.ic))
    assert "leader" in best.text and abs(best.ic) > 0.2
    assert found.ic > blind.ic + 0.1
