"""Portfolios of real supervised sessions: money to the unit, limits over all, and everything that can be killed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from experiments import control, portfolio, replay
from experiments.cli import door
from qframe_rl.config import Unavailable, UserError
from qframe_rl.journal.inbox import order, transfer_word
from qframe_rl.journal.lock import writer_of
from qframe_rl.journal.store import read
from qframe_rl.live.kill import portfolio_of, sessions_below, tell
from qframe_rl.portfolio.ledger import CapitalTransfer, TransferState, balanced
from qframe_rl.portfolio.limits import PortfolioLimits
from qframe_rl.service import booking, membership
from qframe_rl.service.booking import PortfolioSpec
from qframe_rl.service.client import ServiceClient
from qframe_rl.service.desired import Desired, SupervisedSpec
from qframe_rl.service.portfolios import PortfolioChanges, Portfolios
from qframe_rl.service.steward import Steward
from qframe_rl.service.store import ServiceStore
from qframe_rl.service.waiting import waiting
from tests.service.places import ROOT, Served, Session, served, until
from tests.service.test_supervise import begun, ended

E8 = 10**8
SPEC: dict[str, Any] = {"checkpoint": "carry", "feed": "replay", "speed": "36000x"}


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    shutil.copytree(ROOT / "checkpoints" / "funding_arbitrage", tmp_path / "checkpoints" / "carry")
    yield tmp_path
    for journal in (tmp_path / "sessions").glob("*/journal.db"):
        if (pid := writer_of(journal)) is not None:
            os.kill(pid, signal.SIGKILL)


class Rows:
    """The rows, opened and closed for each question, as another process has them."""

    def __init__(self, state: Path):
        self.state = state

    def ask(self, what: Any) -> Any:
        store = ServiceStore(self.state)
        try:
            return what(Portfolios(store))
        finally:
            store.close()

    def transfer(self, name: str) -> Any:
        found = self.ask(lambda rows: [one for one in rows.transfers("main") if one.transfer.id == name])
        return found[0].transfer if found else None

    def members(self) -> dict[str, Any]:
        return {one.name: one for one in self.ask(lambda rows: rows.members("main"))}


def exact(rows: Any, name: str = "main") -> None:
    """What holds after anything: to the unit, and each id once."""
    ledger = rows.ledger(name)
    assert balanced(ledger)
    entries = [(one.posting.entry, one.posting.kind) for one in rows.entries(name)]
    assert len(entries) == len(set(entries))
    moving = sum(one.transfer.units for one in rows.pending(name) if one.transfer.units > 0)
    assert ledger.in_transit == moving


def decided(folder: Path) -> dict[str, list[str]]:
    """How a journal decided on each transfer."""
    found: dict[str, list[str]] = {}
    for event in read(folder / "journal.db"):
        if event.kind == "transferred":
            said = json.loads(event.payload)
            found.setdefault(said["id"], []).append(said["state"])
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_sessions_in_one_portfolio(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state, rows = ["--state", str(root / "state")], Rows(root / "state")
    store = ServiceStore(root / "state")
    for name in ("a", "b"):
        Desired(store).add(name, SupervisedSpec(**SPEC))
    store.close()
    for argv in (
        ["make", "main", "--capital", "20000", "--limit", "max_drawdown=0.9"], ["add", "main", "a", "--share", "0.5"],
        ["add", "main", "b", "--share", "0.25"],
    ):  # fmt: skip
        portfolio.main([*argv, *state, "--json"])
    supervisor = begun(root)
    until(lambda: [one.joined for one in rows.members().values()] == [1, 1], 120.0)
    brought = rows.ask(lambda it: it.ledger("main").settled)
    assert set(brought) == {"a", "b"}
    portfolio.main(["transfer", "main", "a", "5000.00000001", "--id", "t1", *state])
    portfolio.main(["transfer", "main", "b", "-1000000", "--id", "t2", *state])
    until(lambda: str(rows.transfer("t1").state) == "SETTLED", 60.0)
    until(lambda: str(rows.transfer("t2").state) == "REFUSED", 60.0)
    assert "free cash" in rows.transfer("t2").why
    assert rows.ask(lambda it: it.ledger("main").settled)["a"] == brought["a"] + 5000 * E8 + 1
    assert portfolio_of(root / "sessions" / "a") == "main"
    portfolio.main(["rebalance", "main", *state])
    until(lambda: rows.ask(lambda it: it.one("main").due_ns == 0 and not it.one("main").plan), 120.0)
    capsys.readouterr()
    said = portfolio.main(["show", "main", "--json", *state])
    assert said is not None
    one = said["portfolio"]
    whole = math.fsum(m["equity"] for m in one["members"]) + (int(one["unallocated"]) + int(one["in_transit"])) / E8
    assert one["equity"] == pytest.approx(whole, rel=1e-12)
    by_name = {m["name"]: m["weight"] for m in one["members"]}
    assert (by_name["a"], by_name["b"]) == (pytest.approx(0.5, abs=0.05), pytest.approx(0.25, abs=0.05))
    rows.ask(exact)
    with pytest.raises(UserError, match="let it go from there first"):
        from experiments import supervise

        supervise.main(["stop", "a", *state, "--json"])
        supervise.main(["remove", "a", *state, "--json"])
    until(lambda: writer_of(root / "sessions" / "a" / "journal.db") is None, 60.0)
    portfolio.main(["transfer", "main", "a", "7", "--id", "t3", *state])
    until(lambda: bool(rows.ask(lambda it: waiting(it, "main"))))
    waits = (portfolio.main(["show", "main", "--json", *state]) or {})["portfolio"]["waiting"]
    assert [(wait["transfer"], wait["why"]) for wait in waits] == [("t3", "waiting for a, which does not run")]
    supervise.main(["start", "a", *state, "--json"])
    until(lambda: str(rows.transfer("t3").state) == "SETTLED", 60.0)
    ended(supervisor, signal.SIGKILL)  # no supervisor, no API, no database: folders alone
    until(lambda: writer_of(root / "sessions" / "b" / "journal.db") is not None, 60.0)
    shutil.rmtree(root / "state")
    control.main(["--portfolio", "main", "--all", str(root / "sessions")])
    journal = root / "sessions" / "b" / "journal.db"
    until(lambda: any(e.kind == "state" and '"HALTED"' in e.payload for e in read(journal)), 30.0)
    for folder in sessions_below(root / "sessions", "main"):
        if (pid := writer_of(folder / "journal.db")) is not None:
            os.kill(pid, signal.SIGTERM)
            until(lambda folder=folder: writer_of(folder / "journal.db") is None, 60.0)
        assert door(replay.main, [str(folder), "--checkpoint", str(root / "checkpoints" / "carry")]) == 0, "to the bit"


class Obeying(Session):
    """A session that trades nothing and decides on transfers, as far as it is let."""

    def __init__(self, folder: Path):
        super().__init__(folder)
        self.cash, self.done = 10_000.0, set[str]()

    def account(self, n: int) -> dict[str, Any]:
        cash = getattr(self, "cash", 10_000.0)
        return {"cash": cash, "equity": cash, "mark": [100.0, 10.0], "position": [0.0, 0.0]}

    def obey(self) -> None:
        from qframe_rl.journal.inbox import left, transfer_of

        for number, _, word in left(self.folder / "journal.db"):
            said = transfer_of(word)
            if said is None or said[0] in self.done:
                continue
            self.done.add(said[0])
            settled = self.cash + said[1] / E8 > 0.0
            self.cash += said[1] / E8 if settled else 0.0
            plain = {"id": said[0], "units": said[1]}
            self.put("transfer", number=number, by="command", **plain)
            more = {} if settled else {"why": "more than the free cash"}
            self.put("transferred", time=1, state="SETTLED" if settled else "REFUSED", account=self.account(0),
                     **plain, **more)  # fmt: skip
        self.bar()


class Killed(BaseException):
    """The process is gone."""


@pytest.fixture
def little(each_store: str, tmp_path: Path) -> Iterator[tuple[ServiceStore, Obeying, Path]]:
    """One portfolio with one member that has come, without processes."""
    store, sessions = ServiceStore(tmp_path / "state"), tmp_path / "sessions"
    Desired(store).add("a", SupervisedSpec(checkpoint="carry"), "STOPPED")
    rows = Portfolios(store)
    rows.make("main", PortfolioSpec())
    rows.contribute("main", "capital", 1_000 * E8, "test")
    rows.change("main", PortfolioChanges(members={"a": None}), "test")
    session = Obeying(sessions / "a")
    session.bar()
    Steward(store, sessions, print).step()
    yield store, session, sessions
    with contextlib.suppress(OSError):  # a test may have closed it
        session.close()
    store.close()


def stewards(store: ServiceStore, sessions: Path) -> Steward:
    """A steward that remembers nothing, as a new process."""
    return Steward(store, sessions, print)


@pytest.mark.parametrize("units", [250 * E8 + 7, -300 * E8, -(10**6) * E8])
@pytest.mark.parametrize("where", ["before order", "after order", "before booking", "in booking", "nowhere"])
def test_killed_between_any_two_steps_of_a_transfer(
    little: tuple[ServiceStore, Obeying, Path], units: int, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, session, sessions = little
    rows = Portfolios(store)
    for _ in range(2):  # who asked was killed before it heard the answer, and asks again
        rows.transfer("main", CapitalTransfer("t", "a", units), "test")

    def dies(*_: Any, **__: Any) -> None:
        raise Killed

    broken = {
        "before order": ("qframe_rl.service.steward.order", dies), "after order": (Portfolios.__module__, None),
        "before booking": ("qframe_rl.service.steward.apply", dies), "in booking": (membership.__name__ + ".end", dies),
    }  # fmt: skip
    for _ in range(2):
        with monkeypatch.context() as patch, pytest.raises(Killed) if where != "nowhere" else _nothing():
            if where == "after order":
                patch.setattr(Portfolios, "sent", dies)
            elif where != "nowhere":
                patch.setattr(*broken[where])  # type: ignore[arg-type]
            for _ in range(3):
                stewards(store, sessions).step()
                session.obey()
        exact(rows)
    for _ in range(3):
        stewards(store, sessions).step()
        session.obey()
    stewards(store, sessions).step()
    exact(rows)
    (one,) = rows.transfers("main")
    refused = -units > 10_000 * E8
    assert str(one.transfer.state) == ("REFUSED" if refused else "SETTLED")
    ledger = rows.ledger("main")
    moved = 0 if refused else units
    assert (ledger.unallocated, ledger.settled["a"]) == (1_000 * E8 - moved, 10_000 * E8 + moved)
    assert decided(sessions / "a") == {"t": [str(one.transfer.state)]}


class _nothing:
    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, *_: object) -> None:
        """Nothing."""


def test_money_from_outside_is_booked_and_is_no_profit(little: tuple[ServiceStore, Obeying, Path]) -> None:
    store, session, sessions = little
    rows, steward = Portfolios(store), stewards(store, sessions)
    steward.step()
    order(session.folder / "journal.db", transfer_word("stranger", 500 * E8))
    session.obey()
    steward.step()
    exact(rows)
    ledger, row = rows.ledger("main"), rows.one("main")
    assert ledger.contributions == 11_500 * E8
    assert 11_500.0 * row.vigil.scale == pytest.approx(1_000.0), "of the first thousand nothing was earned"
    assert row.vigil.peak == pytest.approx(11_500.0)


def test_a_corrupt_or_silent_member_keeps_its_value_and_tightens_all(
    little: tuple[ServiceStore, Obeying, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _, sessions = little
    rows = Portfolios(store)
    other = Obeying(sessions / "b")
    Desired(store).add("b", SupervisedSpec(checkpoint="carry"))
    rows.change("main", PortfolioChanges(members={"b": None}), "test")
    steward = stewards(store, sessions)
    steward.step()
    assert rows.one("main").vigil.state == "ACTIVE"
    real = membership.walked
    monkeypatch.setattr(
        "qframe_rl.service.steward.walked",
        lambda member, *more: real(member, *more) if member.name == "b" else (_ for _ in ()).throw(
            UserError(f"{sessions}/a/journal.db is corrupt: event 3 is not the one that was written.")),
    )  # fmt: skip
    steward.step()
    row, (a, b) = rows.one("main"), rows.members("main")
    assert (row.vigil.state, a.value.mark, b.value.mark) == ("REDUCE_ONLY", "corrupt", "")
    assert str(sessions) not in a.value.why
    assert a.value.equity == 10_000.0
    words = [json.loads(e.payload) for e in read(sessions / "b" / "journal.db") if e.kind == "command"]
    assert words == [], "the writer is not ours to write for"
    from qframe_rl.journal.inbox import left

    assert [word for *_, word in left(sessions / "b" / "journal.db")] == ["reduce"]
    monkeypatch.undo()
    clock = [1000.0]
    monkeypatch.setattr("qframe_rl.service.steward.time.monotonic", lambda: clock[0])
    fresh = stewards(store, sessions)
    fresh.step()
    clock[0] += 121.0
    fresh.step()
    a, b = rows.members("main")
    assert (a.value.mark, b.value.mark) == ("", "silent"), "a is wanted stopped, b is wanted running and says nothing"
    other.close()


def test_an_old_copy_of_a_journal_is_seen(little: tuple[ServiceStore, Obeying, Path]) -> None:
    store, session, sessions = little
    session.close()
    for one in (sessions / "a").iterdir():
        one.unlink()
    again = Obeying(sessions / "a")
    again.bar(30)
    stewards(store, sessions).step()
    (member,) = Portfolios(store).members("main")
    assert member.value.mark == "corrupt"
    assert "had been read" in member.value.why
    again.close()


def test_what_two_readers_take_of_a_journal_counts_once(little: tuple[ServiceStore, Obeying, Path]) -> None:
    store, session, sessions = little
    rows, steward = Portfolios(store), stewards(store, sessions)
    rows.transfer("main", CapitalTransfer("t", "a", 100 * E8), "test")
    steward.step()
    order(session.folder / "journal.db", transfer_word("stranger", 500 * E8))
    session.obey()
    (member,) = rows.members("main")
    walk = membership.walked(member, session.folder / "journal.db", "USDT")
    for _ in range(2):  # two supervisors, or one that did not know that it had
        membership.apply(store, member, walk)
    exact(rows)
    assert rows.ledger("main").settled["a"] == 10_600 * E8
    done = CapitalTransfer("t", "a", 100 * E8, TransferState.SETTLED)
    for _ in range(2):
        with store.writing() as database:
            assert booking.end(database, "main", done)
            assert not booking.end(database, "main", done._replace(units=1)), "another one"
    exact(rows)


def test_a_journal_whose_tail_is_lost_is_seen(little: tuple[ServiceStore, Obeying, Path], tmp_path: Path) -> None:
    store, session, sessions = little
    stewards(store, sessions).step()
    session.bar()
    session.writer._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(sessions / "a" / "journal.db", tmp_path / "old.db")
    session.bar()
    session.close()
    for name in ("journal.db-wal", "journal.db-shm"):
        (sessions / "a" / name).unlink(missing_ok=True)
    shutil.copy(tmp_path / "old.db", sessions / "a" / "journal.db")
    stewards(store, sessions).step()
    (member,) = Portfolios(store).members("main")
    assert member.value.mark == "corrupt"
    assert "more had been written" in member.value.why


def test_the_warden_tells_until_it_is_obeyed_and_no_more(little: tuple[ServiceStore, Obeying, Path]) -> None:
    from qframe_rl.journal.inbox import left

    store, session, sessions = little
    rows, steward = Portfolios(store), stewards(store, sessions)
    rows.change(
        "main", PortfolioChanges(PortfolioSpec(limits=PortfolioLimits(max_drawdown=0.1, on_loss="HALTED"))), "test"
    )
    steward.step()
    session.cash = 5_000.0
    session.bar()
    for _ in range(5):
        steward.step()
    assert rows.one("main").vigil.state == "HALTED"
    assert "max_drawdown" in rows.one("main").vigil.why[0]
    assert [word for *_, word in left(session.folder / "journal.db")] == ["halt"]
    session.put("state", time=1, state="HALTED", reasons=[])
    session.bar()
    for _ in range(5):
        stewards(store, sessions).step()
    assert [word for *_, word in left(session.folder / "journal.db")] == ["halt"]
    assert not (session.folder / "HALT").exists(), "a human's file is a human's"


def test_a_schedule_is_kept_and_says_why_it_was_not(little: tuple[ServiceStore, Obeying, Path]) -> None:
    store, session, sessions = little
    rows = Portfolios(store)
    rows.change("main", PortfolioChanges(PortfolioSpec(method="hrp", every="7d")), "test")
    assert rows.one("main").due_ns > 0
    rows.note("main", due_ns=1)
    stewards(store, sessions).step()
    assert "a is stopped" in rows.one("main").why
    Desired(store).want("a", "RUNNING")
    rows.note("main", due_ns=1)
    stewards(store, sessions).step()
    assert "20 returns" in rows.one("main").why
    rows.change("main", PortfolioChanges(PortfolioSpec(method="equal", every="7d", band=0.0)), "test")
    rows.note("main", due_ns=1)
    for _ in range(6):
        stewards(store, sessions).step()
        session.obey()
    row = rows.one("main")
    assert (row.plan, row.why) == ({}, "")
    assert rows.ledger("main").unallocated == 0, "all of it is the only member's"
    exact(rows)


def test_what_cannot_be_is_refused_in_a_sentence(
    each_store: str, little: tuple[ServiceStore, Obeying, Path], tmp_path: Path
) -> None:
    store, _, _ = little
    state = ["--state", str(tmp_path / "state")]
    Desired(store).add("c", SupervisedSpec(checkpoint="carry", symbols="BTC/EUR"))
    twin = {"checkpoint": "carry", "orders": "testnet", "exchange": "binance"}
    for name in ("d", "e"):
        Desired(store).add(name, SupervisedSpec(**twin))
    portfolio.main(["add", "main", "d", *state, "--json"])
    for argv, match in (
        (["make", "main"], "another id"), (["make", "M!"], "a name has"), (["add", "main"], "whom"),
        (["add", "main", "nobody"], "no session"), (["add", "main", "c"], "BTC/EUR, and main is in USDT"),
        (["add", "main", "e"], "one exchange account"), (["show", "other"], "no portfolio"), (["show"], "show what"),
        (["transfer", "main", "a", "much"], "amount of money"), (["transfer", "main", "a", "0"], "no amount"),
        (["transfer", "main", "a", "1e-9"], "8 digits"), (["transfer", "main", "a", "2000"], "are unallocated"),
        (["transfer", "main", "-", "-2000"], "are unallocated"), (["transfer", "main", "z", "1"], "no member"),
        (["plan", "main", "--every", "often"], "every"), (["plan", "main", "--method", "luck"], "hrp"),
        (["limits", "main", "--limit", "max_drawdown=2"], "max_drawdown"),
        (["limits", "main", "--limit", "x"], "LIMIT"),
        (["limits", "main", "--limit", "max_los=1"], "max_los"), (["remove", "main", "z"], "no member"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=match):
            portfolio.main([*argv, *state, "--json"])
    if each_store == "sqlite":
        with pytest.raises(UserError, match="not there"):
            portfolio.main(["list", "--state", str(tmp_path / "nowhere")])
    exact(Portfolios(store))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served")


@pytest.fixture(scope="module")
def service(place: Path) -> Iterator[Served]:
    sessions = [Obeying(place / "sessions" / name) for name in ("a", "b")]
    with served(place, "--allow", "operate,trade") as running:
        store = ServiceStore(running.state)
        for name in ("a", "b"):
            Desired(store).add(name, SupervisedSpec(checkpoint="carry"), "STOPPED")
        store.close()
        yield running
    for one in sessions:
        one.close()


def test_the_routes(service: Served, place: Path) -> None:
    with service.client("read", "trade", "operate") as api:
        body = {"id": "one", "capital": "100000000007", "limits": {"max_drawdown": 0.3}, "method": "equal"}
        made = api.post("/portfolios", json=body, headers={"idempotency-key": "k"})
        assert made.status_code == 201
        assert api.post("/portfolios", json=body, headers={"idempotency-key": "k"}).json() == made.json()
        assert api.post("/portfolios", json=body).status_code == 422
        assert api.post("/portfolios", json=body | {"vigil": {}}).status_code == 422, "mass assignment"
        found = api.get("/portfolios/one")
        assert (found.json()["unallocated"], found.headers["etag"]) == ("100000000007", '"1"')
        change = {"members": {"a": 0.5, "b": None}}
        assert api.patch("/portfolios/one", json=change).status_code == 428
        assert api.patch("/portfolios/one", json=change, headers={"if-match": '"9"'}).status_code == 412
        changed = api.patch("/portfolios/one", json=change, headers={"if-match": '"1"'})
        assert [m["name"] for m in changed.json()["members"]] == ["a", "b"]
        seen = {"if-match": changed.headers["etag"]}
        for steps, status in (("5%:14d", 422), ("5%:14d,100%", 200), (None, 200)):
            answer = api.patch("/portfolios/one", json={"ramps": {"a": steps}}, headers=seen)
            assert answer.status_code == status, answer.text
            seen = {"if-match": answer.headers.get("etag", seen["if-match"])}
            shown = api.get("/portfolios/one").json()["members"][0]["ramp"]
            assert (shown and shown["share"]) == (0.05 if steps == "5%:14d,100%" else None)
        store = ServiceStore(service.state)
        Steward(store, place / "sessions", print).step()
        store.close()
        money = {"member": "a", "units": "12345678901"}
        keyed = {"headers": {"idempotency-key": "m"}}
        first = api.post("/portfolios/one/transfers", json=money, **keyed)
        assert (first.status_code, first.json()["state"]) == (202, "PENDING")
        assert api.post("/portfolios/one/transfers", json=money, **keyed).json() == first.json()
        other = api.post("/portfolios/one/transfers", json=money | {"units": "1"}, **keyed)
        assert other.status_code == 422
        assert len(api.get("/portfolios/one/transfers").json()) == 1
        assert api.post("/portfolios/one/transfers", json=money | {"units": "9" * 17}).status_code == 422
        for path in ("positions", "equity", "risk", "ledger"):
            assert api.get(f"/portfolios/one/{path}").status_code == 200, path
        risk = api.get("/portfolios/one/risk").json()
        assert [bound["name"] for bound in risk["limits"]] == ["max_drawdown"]
        booked = api.get("/portfolios/one/ledger").json()
        assert [one["kind"] for one in booked] == ["contribution", "joins", "joins", "sent"]
        said = api.post("/portfolios/one/commands", json={"word": "halt"}).json()
        assert (said["state"], [one["ways"] for one in said["told"]]) == ("HALTED", [["signal", "inbox"]] * 2)
        assert api.post("/portfolios/one/commands", json={"word": "resume"}).json()["state"] == "ACTIVE"
        with ServiceClient(service.url, service.token("read", "trade")) as client:
            asked = client.transfer("one", "b", -5, key="c")
            assert (asked.state, client.transfer("one", "b", -5, key="c").id) == ("PENDING", asked.id)
            assert client.transfer("one", None, 7).state == "SETTLED"
            assert client.portfolio("one").unallocated == "87654321113"
            assert [one.id for one in client.portfolios()] == ["one"]
        for path in ("../x", "%2e%2e", "x" * 65, "A"):
            assert api.get(f"/portfolios/{path}").status_code == 404
    with service.client("read", "operate") as api:
        assert api.post("/portfolios/one/commands", json={"word": "resume"}).status_code == 403
        assert api.post("/portfolios/one/transfers", json=money).status_code == 403


def test_a_token_of_one_portfolio_reaches_nothing_else(service: Served, place: Path) -> None:
    with service.client("read", "trade") as api:
        api.post("/portfolios", json={"id": "mine"})
        api.post("/portfolios", json={"id": "theirs"})
    store = ServiceStore(service.state)
    from qframe_rl.service.auth import Doorkeeper

    token = Doorkeeper(store).new_token("limited", ["read", "trade", "operate"], portfolios=["mine"])
    with pytest.raises(UserError, match="at least one portfolio"):
        Doorkeeper(store).new_token("limited", ["read"], portfolios=[])
    store.close()
    headers = {"authorization": f"Bearer {token}"}
    with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=30.0) as api:
        assert [one["id"] for one in api.get("/portfolios").json()] == ["mine"]
        assert api.get("/portfolios/mine").status_code == 200
        assert api.get("/portfolios/theirs").status_code == 404
        assert api.post("/portfolios/theirs/transfers", json={"units": "5"}).status_code == 404
        assert api.post("/portfolios", json={"id": "new"}).status_code == 403
        for path in ("/sessions", "/supervised", "/events", "/runs"):
            assert api.get(path).status_code == 403, path
        assert api.post("/kill").status_code == 403
        session = next(iter(_ids(service)))
        assert api.get(f"/sessions/{session}").status_code == 404
        assert api.post(f"/sessions/{session}/commands", json={"word": "halt"}).status_code == 404
        answer = api.patch("/portfolios/mine", json={"members": {"a": None}}, headers={"if-match": '"1"'})
        assert answer.status_code == 403, "it brings no session into its reach"
        assert api.get("/me").status_code == 200


def _ids(service: Served) -> list[str]:
    with service.client("read") as api:
        return [one["id"] for one in api.get("/sessions").json()]


@pytest.mark.usefixtures("each_store")
def test_killed_server_answers_the_same_key_with_the_same_transfer(tmp_path: Path) -> None:
    """The row was made and the answer was not kept: the id follows from the key."""
    store = ServiceStore(tmp_path)
    rows = Portfolios(store)
    rows.make("one", PortfolioSpec())
    rows.contribute("one", "capital", 10 * E8, "test")
    for _ in range(3):
        rows.contribute("one", "capital", 10 * E8, "test")
    assert rows.ledger("one").unallocated == 10 * E8
    with pytest.raises(UserError, match="another movement"):
        rows.contribute("one", "capital", 11 * E8, "test")
    store.close()


def test_kill_all_tells_by_every_way_and_each_is_enough(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sessions = [Session(tmp_path / "deep" / name) for name in ("a", "b")]
    (tmp_path / "deep" / "a" / "portfolio").write_text("main\n")
    (tmp_path / "deep" / "b" / "inbox.db").mkdir()
    said = control.main(["--all", str(tmp_path), "--json"])
    assert said is not None
    assert [one["ways"] for one in said["told"]] == [["file", "signal", "inbox"], ["file", "signal"]]
    assert (tmp_path / "deep" / "b" / "HALT").exists()
    with pytest.raises(UserError, match="remove it first"):
        control.main(["resume", "--all", str(tmp_path)])
    (tmp_path / "deep" / "c").mkdir()
    (tmp_path / "deep" / "c" / "journal.db").write_text("nothing")
    (tmp_path / "deep" / "c" / "HALT").mkdir()
    with pytest.raises(Unavailable, match="2 of 3 sessions"):
        control.main(["reduce", "--all", str(tmp_path)])
    shutil.rmtree(tmp_path / "deep" / "c")
    said = control.main(["reduce", "--all", str(tmp_path), "--portfolio", "main", "--json"])
    assert said is not None
    assert [one["ways"] for one in said["told"]] == [["inbox"]]
    for argv, match in (
        (["halt"], "FOLDER"), (["--all", str(tmp_path / "no")], "no folder"),
        (["halt", "x", "--all", "."], "one folder"),
        (["--all", str(tmp_path), "--portfolio", "no"], "no session of portfolio no"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=match):
            control.main(argv)
    for one in sessions:
        one.close()
    assert tell(tmp_path / "deep" / "a", "flatten").ways == ("inbox",), "no process runs"


@pytest.mark.usefixtures("each_store")
def test_nothing_is_lost_of_what_a_row_says(tmp_path: Path) -> None:
    store = ServiceStore(tmp_path)
    rows = Portfolios(store)
    spec = PortfolioSpec(limits=PortfolioLimits(max_net=5.0), method="equal", every="30d")
    rows.make("one", spec)
    assert rows.make("one", spec) == rows.one("one")
    with pytest.raises(UserError, match="another one"):
        rows.make("one", PortfolioSpec())
    with pytest.raises(UserError, match="keeps its currency"):
        rows.change("one", PortfolioChanges(spec.model_copy(update={"currency": "EUR"})), "test")
    with pytest.raises(LookupError, match="revision 1"):
        rows.change("one", PortfolioChanges(spec), "test", revision=7)
    rows.change("one", PortfolioChanges(members={"a": 0.7}), "test")
    with pytest.raises(UserError, match="in one portfolio"):
        rows.make("two", PortfolioSpec())
        rows.change("two", PortfolioChanges(members={"a": None}), "test")
    assert booking.HEAD == "0" * 64
    store.close()
