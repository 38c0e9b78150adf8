"""Capital that is earned: a member of a portfolio on its ramp, with real rows, a journal and transfers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from experiments import portfolio
from experiments.cli import door
from qframe_rl.config import UserError
from qframe_rl.service import ramping
from qframe_rl.service.booking import PortfolioSpec
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.notices import PortfolioNotices
from qframe_rl.service.portfolios import PortfolioChanges, Portfolios
from qframe_rl.service.ramping import Ramps
from qframe_rl.service.standings import notices, standing
from qframe_rl.service.steward import Steward
from qframe_rl.service.store import ServiceStore
from tests.service.test_portfolios import E8, Obeying, exact

STEPS, LONG = "5%:9h,25%:9h,100%", "5%:30d,25%:30d,100%"


class Promising(Obeying):
    """A session that keeps its promise until it is told otherwise."""

    def __init__(self, folder: Path):
        self.said: dict[str, Any] = {}
        super().__init__(folder)

    def pulse(self) -> dict[str, Any]:
        promise = {
            "answer": "too early", "bars": 1, "sharpe": None, "log_evidence": 0.0, "centre": 1.0, "low": -1.0,
            "high": 3.0, "spread": 1.0, "drawdown": 0.2,
        }  # fmt: skip
        equity = self.account(0)["equity"]
        return (
            super().pulse()
            | {"peak": equity, "promise": promise | self.said.get("promise", {})}
            | {name: value for name, value in self.said.items() if name != "promise"}
        )


class Ramped:
    """A portfolio of 10,000 with one member, whose share by hand is all of it."""

    def __init__(self, folder: Path):
        self.store, self.sessions = ServiceStore(folder / "state"), folder / "sessions"
        Desired(self.store).add("a", SupervisedSpec(checkpoint="carry"))
        self.rows, self.ramps = Portfolios(self.store), Ramps(Portfolios(self.store))
        self.rows.make("main", PortfolioSpec(band=0.5))
        self.rows.change("main", PortfolioChanges(members={"a": 1.0}), "test")
        self.session = Promising(self.sessions / "a")
        self.session.bar()
        self.told: list[str] = []

    def live(self, bars: int = 1, looks: int = 5) -> float:
        """Live so many bars, with a new steward at each look; what the member has then."""
        for _ in range(bars):
            self.session.bar()
            for _ in range(looks):
                Steward(self.store, self.sessions, self.told.append).step()
                self.session.obey()
                exact(self.rows)
        return self.session.cash

    def step(self) -> int:
        return self.ramps.all()["a"].state.step

    def close(self) -> None:
        self.session.close()
        self.store.close()


@pytest.fixture
def ramped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ramped]:
    monkeypatch.setattr(ramping, "_AGAIN_S", 0.0)
    one = Ramped(tmp_path)
    yield one
    one.close()


def test_money_follows_the_steps_up_and_back(ramped: Ramped) -> None:
    ramped.live()
    ramped.ramps.put("main", "a", STEPS, "test")
    assert ramped.live() == pytest.approx(500.0), "all but a twentieth goes back to the portfolio"
    assert ramped.rows.ledger("main").unallocated == pytest.approx(9_500 * E8)
    seen = [round(ramped.live(looks=1)) for _ in range(30)]
    assert list(dict.fromkeys(seen)) == [500, 2_500, 10_000]
    assert ramped.step() == 2
    ramped.session.said = {"drift_bps": 25.0}
    assert ramped.live() == pytest.approx(2_500.0)
    assert "drift 25.0 bps" in ramped.ramps.all()["a"].why
    assert ramped.live() == pytest.approx(2_500.0), "one step a day"
    assert any("taken back from 1 to 0.25" in line for line in ramped.told)
    booked = ramped.store.rows("SELECT who, what, outcome FROM audit WHERE on_what = 'a' ORDER BY id")
    assert [what for who, what, _ in booked if who == "ramp"] == [
        "5.00% to 25.00%", "25.00% to 100.00%", "100.00% to 25.00%",
    ]  # fmt: skip
    ramps = [one for one in PortfolioNotices(ramped.store).latest("main", 100) if one.rule == "ramp"]
    assert [one.text.partition(":")[0] for one in reversed(ramps)] == [
        "a raised from 0.05 to 0.25 of its share", "a raised from 0.25 to 1 of its share",
        "a taken back from 1 to 0.25 of its share",
    ]  # fmt: skip
    assert all(one.alert for one in ramps)
    shown = notices(ramped.rows, "main", 100)
    assert [one.text for one in shown if one.rule == "ramp"] == [one.text for one in ramps]


def test_a_member_whose_share_is_nothing_is_asked_for_none_of_its_money(ramped: Ramped) -> None:
    """It would never give all of it; and once it has a share again, its ramp goes on."""
    ramped.live()
    ramped.rows.change("main", PortfolioChanges(members={"a": 0.0}, ramps={"a": STEPS}), "test")
    assert ramped.live(12) == pytest.approx(10_000.0)
    assert ramped.rows.transfers("main") == []
    assert (ramped.step(), ramped.ramps.all()["a"].why) == (0, ramping.NO_SHARE)
    ramped.rows.change("main", PortfolioChanges(members={"a": 1.0}), "test")
    assert ramped.live() == pytest.approx(500.0)


@pytest.mark.parametrize(
    "said", [{"promise": {"answer": "below"}}, {"state": "REDUCE_ONLY"}, {"peak": 10.0**6}, {"drift_bps": 20.1}]
)
def test_outside_its_promise_a_member_is_given_no_more(ramped: Ramped, said: dict[str, Any]) -> None:
    ramped.live()
    ramped.ramps.put("main", "a", STEPS, "test")
    ramped.session.said = said
    assert ramped.live(8) == pytest.approx(500.0)
    assert ramped.step() == 0


def test_a_schedule_gives_no_more_than_the_step(ramped: Ramped) -> None:
    ramped.live()
    ramped.ramps.put("main", "a", LONG, "test")
    ramped.live()
    ramped.rows.change("main", PortfolioChanges(PortfolioSpec(band=0.0, every="7d")), "test")
    ramped.rows.note("main", due_ns=1)
    assert ramped.live(looks=8) == pytest.approx(500.0)


def test_what_a_session_will_not_give_back_is_asked_for_again(ramped: Ramped) -> None:
    ramped.live()
    cash, ramped.session.cash = ramped.session.cash, 1.0  # the rest of its money is needed
    ramped.ramps.put("main", "a", STEPS, "test")
    ramped.session.account = lambda n: Obeying.account(ramped.session, n) | {"equity": cash}  # type: ignore[method-assign]
    ramped.live(2)
    asked = len(ramped.rows.transfers("main"))
    assert asked >= 2
    assert {str(one.transfer.state) for one in ramped.rows.transfers("main")} <= {"REFUSED", "PENDING"}
    assert ramped.ramps.all()["a"].moving
    del ramped.session.account  # type: ignore[method-assign]
    ramped.session.cash = cash
    assert ramped.live(2) == pytest.approx(500.0)
    assert not ramped.ramps.all()["a"].moving


def test_it_is_shown_changed_and_ends_with_its_member(ramped: Ramped) -> None:
    ramped.live()
    ramped.ramps.put("main", "a", STEPS, "test")
    ramped.live(3)
    shown = standing(ramped.rows, ramped.rows.one("main"), {}).members[0].ramp
    assert shown is not None
    assert (shown.steps, shown.share) == (STEPS, ramped.ramps.all()["a"].share)
    before = ramped.ramps.all()["a"]
    ramped.ramps.put("main", "a", "5%:9h, 25.0%:9h,100.00%", "test")
    assert ramped.ramps.all()["a"] == before, "the same again"
    ramped.ramps.put("main", "a", "10%:1d,100%", "test")
    assert ramped.ramps.all()["a"].state.step == 0
    ramped.ramps.put("main", "a", None, "test")
    assert ramped.ramps.all() == {}
    ramped.ramps.put("main", "a", STEPS, "test")
    while ramped.rows.pending("main"):
        ramped.live()
    ramped.rows.change("main", PortfolioChanges(remove=["a"]), "test")
    assert ramped.ramps.all() == {}
    with pytest.raises(UserError, match="no member"):
        ramped.ramps.put("main", "a", STEPS, "test")


def test_the_door(ramped: Ramped, capsys: pytest.CaptureFixture[str]) -> None:
    state = ["--state", str(ramped.store.folder)]
    assert door(portfolio.main, ["add", "main", "a", "--ramp", "5%:14d", *state]) == 2
    assert "each step but the last has a length" in capsys.readouterr().err
    assert door(portfolio.main, ["add", "main", "a", "--ramp", "5%:14d,25%:30d,100%", *state]) == 0
    assert "ramp 5%:2w,25%:30d,100%: 5.00% of its share" in capsys.readouterr().out
    assert door(portfolio.main, ["add", "main", "a", "--ramp", "none", *state]) == 0
    assert "ramp" not in capsys.readouterr().out
