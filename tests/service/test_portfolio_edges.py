"""Portfolios where somebody would not look: long pasts, halves of changes, emptiness, other clocks, one that is ill."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from experiments import portfolio
from qframe_rl.config import UserError
from qframe_rl.journal.inbox import left, order, transfer_word
from qframe_rl.portfolio.ledger import CapitalTransfer
from qframe_rl.service import membership
from qframe_rl.service.app import create_app
from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.booking import PortfolioSpec
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.places import Places
from qframe_rl.service.portfolios import PortfolioChanges, Portfolios
from qframe_rl.service.ramping import Ramps
from qframe_rl.service.steering import steered
from qframe_rl.service.steward import Steward
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.wiring import Service
from tests.service.test_portfolios import E8, Obeying, exact


class Kept:
    """A portfolio without money, and sessions that may come into it."""

    def __init__(self, folder: Path):
        self.state, self.sessions = folder / "state", folder / "sessions"
        self.store = ServiceStore(self.state)
        self.rows = Portfolios(self.store)
        self.rows.make("main", PortfolioSpec(band=0.0))
        self.writers: list[Obeying] = []
        self.told: list[str] = []

    def session(self, name: str) -> Obeying:
        Desired(self.store).add(name, SupervisedSpec(checkpoint="carry"))
        self.writers.append(Obeying(self.sessions / name))
        self.writers[-1].bar()
        return self.writers[-1]

    def comes(self, name: str, portfolio: str = "main") -> None:
        self.rows.change(portfolio, PortfolioChanges(members={name: None}), "test")
        self.look()

    def look(self) -> None:
        Steward(self.store, self.sessions, self.told.append).step_or_wait()

    def worths(self) -> list[tuple[int, float]]:
        return self.store.rows("SELECT time_ns, worth FROM worths WHERE portfolio = 'main' ORDER BY time_ns")


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    for one in made.writers:
        one.close()
    made.store.close()


def test_a_session_with_a_long_past_brings_what_it_owns_now(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "EVENTS", 5)
    session = kept.session("a")
    for _ in range(4):
        session.bar()
    order(session.folder / "journal.db", transfer_word("before", 500 * E8))
    session.obey()
    session.cash += 250.0
    session.bar()
    kept.comes("a")
    ledger, row = kept.rows.ledger("main"), kept.rows.one("main")
    assert (ledger.contributions, ledger.settled) == (10_750 * E8, {"a": 10_750 * E8}), "none of it was earned here"
    assert [one.posting.kind for one in kept.rows.entries("main")] == ["joins"]
    assert row.vigil.peak == 10_750.0
    exact(kept.rows)


def test_a_portfolio_is_made_with_its_capital_or_not_at_all(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    argv = ["make", "other", "--state", str(kept.state), "--json", "--capital"]
    with pytest.raises(UserError, match=r"begins with nothing or more, not with -5\.00"):
        portfolio.main([*argv, "-5"])
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("qframe_rl.service.portfolios.book", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        portfolio.main([*argv, "1000"])
    assert [row.id for row in kept.rows.all()] == ["main"]
    portfolio.main([*argv, "1,000.5"])
    assert kept.rows.ledger("other").unallocated == 1_000 * E8 + E8 // 2


@pytest.mark.parametrize(("capital", "other"), [(1_000, 1_500), (1_000, 0), (0, 1_000)])
def test_a_portfolio_that_is_made_again_with_another_capital_is_refused(kept: Kept, capital: int, other: int) -> None:
    def made(name: str, amount: int) -> None:
        kept.rows.make(name, PortfolioSpec(), amount * E8, "test")

    made("again", capital)
    made("again", capital)
    with pytest.raises(UserError, match=rf"began with {capital:,}\.00 and not with {other:,}\.00; take another id"):
        made("again", other)
    assert kept.rows.ledger("again").contributions == capital * E8, "the same again is the same, and no more money"
    kept.rows.contribute("again", "later", 70 * E8, "test")
    made("again", capital)


def test_a_change_with_a_ramp_that_cannot_be_changes_nothing(kept: Kept) -> None:
    kept.session("a")
    before = kept.rows.one("main")
    for ramps, match in (({"nobody": "5%:14d,100%"}, "no member"), ({"a": "5%:14d"}, "length"), ({"a": "x"}, "step")):
        with pytest.raises(UserError, match=match):
            kept.rows.change("main", PortfolioChanges(PortfolioSpec(every="7d"), {"a": 0.5}, ramps=ramps), "test")
        assert (kept.rows.one("main"), kept.rows.members("main")) == (before, [])
    kept.rows.change("main", PortfolioChanges(members={"a": 0.5}, ramps={"a": "5%:14d,100%"}), "test")
    assert Ramps(kept.rows).all()["a"].share == 0.05


@pytest.mark.parametrize("text", ["2,5", "1,00", "10,00.5", ",5", "1." + "0" * 40 + "1", "1e400", "1e99999999"])
def test_an_amount_that_could_mean_another_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="point"):
        portfolio.units_of(text, "--capital")
    assert portfolio.units_of("-1,234,567.00000001", "x") == -123456700000001


def test_what_is_paid_out_to_the_last_is_no_loss(kept: Kept) -> None:
    session = kept.session("a")
    kept.comes("a")
    session.cash *= 1.5
    session.bar()
    kept.look()
    kept.rows.change("main", PortfolioChanges(remove=["a"]), "test")
    assert kept.rows.ledger("main").unallocated == 0
    kept.rows.contribute("main", "one", 300 * E8, "test")
    kept.rows.contribute("main", "two", -300 * E8, "test")
    kept.rows.contribute("main", "three", 4_000 * E8, "test")
    session.bar()
    kept.comes("a")
    assert [worth for _, worth in kept.worths()][-2:] == pytest.approx([15_000.0, 15_000.0])
    assert kept.rows.one("main").vigil.peak == pytest.approx(19_000.0)


def test_the_curve_goes_on_where_the_member_leaves_whose_clock_was_ahead(kept: Kept) -> None:
    behind, ahead = kept.session("a"), kept.session("b")
    for _ in range(5):
        ahead.bar()
    for name in "ab":
        kept.comes(name)
    before = kept.worths()
    kept.rows.change("main", PortfolioChanges(remove=["b"]), "test")
    behind.cash *= 0.5
    behind.bar()
    kept.look()
    assert [at for at, _ in kept.worths()] == [at for at, _ in before], "nothing is written into the past"
    assert kept.worths()[-1][1] == pytest.approx(before[-1][1] / 2.0)


def test_one_portfolio_that_is_ill_holds_up_no_other(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    rich, session = kept.session("a"), kept.session("b")
    kept.rows.make("another", PortfolioSpec())
    kept.comes("a", "another")
    kept.comes("b")
    rich.cash = 1e12
    rich.bar()
    session.cash = 9_000.0
    session.bar()
    kept.look()
    (a,) = kept.rows.members("another")
    assert (a.value.mark, a.value.equity) == ("corrupt", 10_000.0)
    assert "a portfolio counts less than 50,000,000,000" in a.value.why
    real = Steward._watch

    def ill(self: Steward, row: object, marks: object) -> None:
        if getattr(row, "id", "") == "another":
            raise OverflowError("too large")
        real(self, row, marks)  # type: ignore[arg-type]

    monkeypatch.setattr(Steward, "_watch", ill)
    monkeypatch.setattr("qframe_rl.service.steward.mark", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    (kept.sessions / "b" / "portfolio").unlink()
    session.cash = 8_000.0
    session.bar()
    kept.look()
    assert kept.rows.members("main")[0].value.equity == 8_000.0
    assert kept.worths()[-1][1] == pytest.approx(8_000.0)
    assert "another: OverflowError: too large" in kept.told[-1]
    assert "disk full" in kept.told[-1]


def test_nothing_is_given_once_a_portfolio_is_tightened(kept: Kept) -> None:
    session = kept.session("a")
    kept.comes("a")
    kept.rows.contribute("main", "capital", 5_000 * E8, "test")
    kept.rows.change("main", PortfolioChanges(PortfolioSpec(method="equal", band=0.0)), "test")
    kept.rows.note("main", due_ns=1)
    kept.look()
    assert kept.rows.one("main").plan
    steered(kept.rows, "main", "flatten", "test")
    for _ in range(4):
        kept.look()
        session.obey()
    row = kept.rows.one("main")
    assert (row.plan, row.why, kept.rows.transfers("main")) == ({}, "it is FLATTEN", [])


def test_a_folder_that_has_a_members_name_alone_is_no_member(kept: Kept, tmp_path: Path) -> None:
    kept.session("a")
    kept.comes("a")
    other = Obeying(tmp_path / "elsewhere" / "a")
    kept.writers.append(other)
    other.bar()
    token = Doorkeeper(kept.store).new_token("limited", ["read", "operate"], portfolios=["main"])
    heads = {"authorization": f"Bearer {token}"}

    def asked(root: Path, *what: tuple[str, str, dict[str, str] | None]) -> list[httpx.Response]:
        async def all_of_it() -> list[httpx.Response]:
            app = create_app(Service.of([root], kept.state, ("operate",)))
            wire = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=wire, base_url="http://it/api/v1", headers=heads) as api:
                return [await api.request(method, path, json=body) for method, path, body in what]

        return asyncio.run(all_of_it())

    session = next(iter(Places([tmp_path / "elsewhere"]).sessions()))
    shown, commanded, portfolio_shown, told = asked(
        tmp_path / "elsewhere", ("GET", f"/sessions/{session}", None),
        ("POST", f"/sessions/{session}/commands", {"word": "halt"}), ("GET", "/portfolios/main", None),
        ("POST", "/portfolios/main/commands", {"word": "halt"}),
    )  # fmt: skip
    assert (shown.status_code, commanded.status_code) == (404, 404)
    assert portfolio_shown.json()["members"][0]["session"] is None
    assert "the supervisor tells it" in told.json()["told"][0]["failed"]
    portfolio_shown, _ = asked(
        tmp_path, ("GET", "/portfolios/main", None), ("POST", "/portfolios/main/commands", {"word": "halt"})
    )
    member = portfolio_shown.json()["members"][0]["session"]
    assert asked(tmp_path, ("GET", f"/sessions/{member}", None))[0].status_code == 200
    assert left(other.folder / "journal.db") == []
    assert [word for *_, word in left(kept.sessions / "a" / "journal.db")] == ["halt"]


def test_a_lost_word_is_left_again_though_the_clock_stepped_back(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    session = kept.session("a")
    kept.comes("a")
    kept.rows.contribute("main", "capital", 100 * E8, "test")
    kept.rows.transfer("main", CapitalTransfer("t", "a", 50 * E8), "test")
    kept.look()
    for path in session.folder.glob("inbox.db*"):
        path.unlink()
    kept.look()
    assert left(session.folder / "journal.db") == [], "it was left just now"
    real = time.time_ns
    monkeypatch.setattr("qframe_rl.service.steward.time.time_ns", lambda: real() - 3600 * 10**9)
    kept.look()
    monkeypatch.undo()
    assert [word for *_, word in left(session.folder / "journal.db")] == [transfer_word("t", 50 * E8)]
    session.obey()
    kept.look()
    assert str(kept.rows.transfers("main")[0].transfer.state) == "SETTLED"
    exact(kept.rows)


def test_one_that_went_comes_again_before_its_journal_goes_on(kept: Kept) -> None:
    kept.session("a")
    for _ in range(2):
        kept.comes("a")
        assert kept.rows.ledger("main").settled == {"a": 10_000 * E8}
        kept.rows.change("main", PortfolioChanges(remove=["a"]), "test")
    assert kept.told == []
    exact(kept.rows)


def test_a_change_goes_by_the_row_as_it_is_then(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = kept.store.writing

    def later(*given: object) -> object:
        monkeypatch.setattr(kept.store, "writing", begun)
        kept.rows.note("main", due_ns=77)  # the supervisor's, just before
        return begun()

    monkeypatch.setattr(kept.store, "writing", later)
    kept.rows.change("main", PortfolioChanges(spec=PortfolioSpec(band=0.1)), "test")
    assert kept.rows.one("main").due_ns == 77
