"""The store in PostgreSQL: one claim a job, a database that goes and comes, and a password that nobody sees."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psycopg
import pytest

from experiments import portfolio, relay, serve, supervise, token
from experiments.cli import door
from qframe_rl.config import Unavailable, UserError
from qframe_rl.postgres import BoundedConnection
from qframe_rl.servers import address_of
from qframe_rl.service.auth import Doorkeeper
from qframe_rl.service.jobs import Jobs, JobSpec
from qframe_rl.service.places import Places
from qframe_rl.service.postgres import native, translated
from qframe_rl.service.projection import Figures
from qframe_rl.service.store import MIGRATIONS, VARIABLE, ServiceStore
from qframe_rl.service.store import PASSWORD as PASSWORD_OF_STORE
from qframe_rl.service.supervise import Supervisor
from qframe_rl.service.wiring import LATEST_NS
from qframe_rl.service.worker import Worker
from tests.servers import TestServer, postgres
from tests.service.places import ROOT, Session, served, until

WORD = "s3cret-word"


@pytest.fixture
def store(tmp_path: Path, fresh_url: Callable[[], str]) -> Iterator[ServiceStore]:
    made = ServiceStore(tmp_path, fresh_url())
    yield made
    made.close()


@pytest.fixture(scope="module")
def own() -> Iterator[TestServer]:
    """A server that tests kill."""
    one = postgres()
    yield one
    one.close()


def address(server: TestServer) -> str:
    return f"postgresql://postgres@127.0.0.1:{server.port}/postgres"


def test_a_job_is_claimed_once_by_workers_that_ask_at_the_same_time(
    tmp_path: Path, fresh_url: Callable[[], str]
) -> None:
    url = fresh_url()
    stores = [ServiceStore(tmp_path, url) for _ in range(4)]
    for _ in range(40):
        Jobs(stores[0]).ask(JobSpec(kind="train"), "anna")
    claimed: list[str] = []

    def work(store: ServiceStore) -> None:
        while (job := Jobs(store).claim(threading.current_thread().name)) is not None:
            claimed.append(job.id)

    threads = [threading.Thread(target=work, args=(store,)) for store in stores]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed)) == 40
    for one in stores:
        one.close()


def test_a_row_that_another_claims_is_passed_over_and_not_waited_for(
    tmp_path: Path, fresh_url: Callable[[], str]
) -> None:
    url = fresh_url()
    first, second = ServiceStore(tmp_path, url), ServiceStore(tmp_path, url)
    early, late = (Jobs(first).ask(JobSpec(kind="train"), "anna") for _ in range(2))
    with first.writing(alone=False) as database:
        database.execute("UPDATE jobs SET worker = 'one' WHERE id = ?", (early.id,))
        got = Jobs(second).claim("two")
        assert got is not None
        assert got.id == late.id
    first.close()
    second.close()


def test_what_was_read_alone_stays_true_to_the_end(tmp_path: Path, fresh_url: Callable[[], str]) -> None:
    """Reading a number and writing the next one, from eight threads over two connections: none is lost."""
    url = fresh_url()
    stores = [ServiceStore(tmp_path, url) for _ in range(2)]
    with stores[0].writing() as database:
        database.execute("INSERT INTO meta VALUES ('n', '0')")

    def count(store: ServiceStore) -> None:
        for _ in range(20):
            with store.writing() as database:
                (n,) = database.execute("SELECT value FROM meta WHERE key = 'n'").fetchone()
                database.execute("UPDATE meta SET value = ? WHERE key = 'n'", (str(int(n) + 1),))

    threads = [threading.Thread(target=count, args=(stores[k % 2],)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stores[0].rows("SELECT value FROM meta WHERE key = 'n'") == [("160",)]
    for one in stores:
        one.close()


def test_one_supervisor_has_a_database_whichever_host_it_is_on(tmp_path: Path, own: TestServer) -> None:
    stores = [ServiceStore(tmp_path / str(k), address(own)) for k in range(2)]

    def supervisor(k: int) -> Supervisor:
        return Supervisor(stores[k], Places([tmp_path]), tmp_path / f"sessions-{k}", lambda _: None)

    first = supervisor(0)
    with pytest.raises(UserError, match=r"another supervisor has postgresql.*on one host"):
        supervisor(1)
    own.kill()
    with pytest.raises(Unavailable):
        first.step()
    own.start()
    until(lambda: _answers(stores[1]))
    second = supervisor(1)
    with pytest.raises(UserError, match="another supervisor"):
        first.step()
    second.step()
    stores[1].close()
    third = supervisor(0)
    third.close()
    stores[0].close()


def test_values_come_back_as_they_went(store: ServiceStore) -> None:
    with store.writing() as database:
        database.execute("INSERT INTO journals (id, session, name) VALUES (7, 'a?%s''b', ?)", ("?%Ω",))
        row = (7, 1, 2**63 - 1, 0.1 + 0.2, 1e-308, float("inf"), -0.0)
        database.executemany("INSERT INTO equity VALUES (?, ?, ?, ?, ?, ?, ?)", [row, (7, 2, -(2**62), *row[3:])])
    assert store.rows("SELECT * FROM equity ORDER BY seq")[0] == row
    assert store.rows("SELECT name FROM journals WHERE session = 'a?%s''b'") == [("?%Ω",)]
    assert store.rows("SELECT sum(time_ns) FROM equity") == [(2**63 - 1 - 2**62,)]
    with pytest.raises(UserError, match="does not fit"):
        store.rows("SELECT 1 FROM users WHERE name = ?", ("a\0b",))
    with pytest.raises(RuntimeError, match="under way"), store.writing(), store.writing():
        pass
    with pytest.raises(ValueError, match="mine"), store.writing() as database:
        database.execute("DELETE FROM equity")
        raise ValueError("mine")
    assert store.rows("SELECT count(*) FROM equity") == [(2,)]


def test_marks_and_types_are_those_of_postgres() -> None:
    assert translated("SELECT '?%', ? WHERE a LIKE 'x%' AND b % 2 = ?") == (
        "SELECT '?%%', %s WHERE a LIKE 'x%%' AND b %% 2 = %s"
    )
    made = native("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER, x REAL, h BLOB, s TEXT) WITHOUT ROWID")
    for word in ("BIGINT GENERATED BY DEFAULT AS IDENTITY", "n BIGINT", "DOUBLE PRECISION", "BYTEA", 'COLLATE "C"'):
        assert word in made
    assert "ROWID" not in made


def test_tables_of_others_and_of_later_versions_are_refused(tmp_path: Path, fresh_url: Callable[[], str]) -> None:
    import psycopg

    theirs, later, used = fresh_url(), fresh_url(), fresh_url()
    with psycopg.connect(theirs, autocommit=True) as connection:
        connection.execute("CREATE TABLE meta (theirs int)")
    with pytest.raises(UserError, match="another program"):
        ServiceStore(tmp_path, theirs)
    with psycopg.connect(used, autocommit=True) as connection:
        connection.execute("CREATE TABLE users (theirs int)")
    with pytest.raises(UserError, match="another program"):
        ServiceStore(tmp_path, used)
    store = ServiceStore(tmp_path, later)
    epoch = store.epoch
    with store.writing() as database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'form'", (str(len(MIGRATIONS) + 1),))
    with pytest.raises(UserError, match="later version"):
        ServiceStore(tmp_path, later)
    with store.writing() as database:
        database.execute("UPDATE meta SET value = ? WHERE key = 'form'", (str(len(MIGRATIONS)),))
    again = ServiceStore(tmp_path, later)
    assert again.epoch == epoch
    again.close()
    store.close()


def test_a_connection_that_broke_is_made_anew_and_a_write_is_whole_or_not_at_all(
    tmp_path: Path, own: TestServer
) -> None:
    store = ServiceStore(tmp_path, address(own))
    keeper = Doorkeeper(store)
    known, unknown = keeper.new_token("known", ["read"]), keeper.new_token("unknown", ["read"])
    own.kill()
    own.start()
    assert keeper.identity(known) is not None
    own.kill()
    own.start()
    store.audit("anna", "halt", "", "done")
    with pytest.raises(Unavailable, match="does not do it now"), store.writing() as database:
        database.execute("DELETE FROM audit")
        own.kill()
        database.execute("DELETE FROM tokens")
    with pytest.raises(Unavailable, match="does not let us in"):
        store.rows("SELECT 1")
    assert keeper.identity(known) is not None, "who was let in lately stays in"
    with pytest.raises(Unavailable):
        keeper.identity(unknown)
    keeper._heard -= 1000.0
    with pytest.raises(Unavailable):
        keeper.identity(known)
    own.start()
    until(lambda: _answers(store))
    assert store.rows("SELECT count(*) FROM audit") == [(1,)]
    assert keeper.identity(unknown) is not None
    store.close()


def test_it_is_said_that_it_is_tried_again_where_it_is_and_nowhere_else(
    tmp_path: Path, own: TestServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """A command that ends tries nothing again; who waits, does, and says so once."""
    place, state = address(own), ["--state", str(tmp_path)]
    stores = [ServiceStore(tmp_path, place) for _ in range(2)]
    heard: list[str] = []
    supervisor = Supervisor(stores[0], Places([tmp_path]), tmp_path / "sessions", heard.append)
    worker = Worker(stores[1], Places([tmp_path]), tmp_path, None, None, heard.append)
    own.kill()
    try:
        for main, argv in (
            (token.main, ["list"]), (supervise.main, ["list"]), (supervise.main, ["stop", "a"]),
            (portfolio.main, ["list"]), (portfolio.main, ["make", "main"]), (serve.main, ["--port", "0"]),
            (relay.main, ["--to", place, "--once"]),
        ):  # fmt: skip
            where = [] if main is relay.main else ["--store", place]
            assert door(main, [*argv, *state, *where]) == 1
            said = capsys.readouterr().err
            assert "does not let us in" in said
            assert "again" not in said, argv
        for _ in range(2):
            supervisor.step_or_wait()
            assert worker.step(lambda: False) is False
        assert len(heard) == 2, "once each"
        assert all("It is tried again" in line for line in heard)
    finally:
        own.start()
        for store in stores:
            store.close()


def test_a_server_that_was_stopped_holds_nobody_up(
    tmp_path: Path, own: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(BoundedConnection, "patience_s", 0.5)
    store = ServiceStore(tmp_path, address(own))
    own.pause()
    try:
        with pytest.raises(Unavailable):
            store.audit("anna", "halt", "", "done")
    finally:
        own.go_on()
    until(lambda: _answers(store))
    store.close()


def test_a_service_goes_on_without_its_database_and_mends_itself(tmp_path: Path, own: TestServer) -> None:
    one = Session(tmp_path / "root" / "alpha")
    one.bar(3)
    env = {VARIABLE: address(own)}
    with served(tmp_path / "root", "--allow", "operate,trade,jobs", env=env) as service:
        service.store = address(own)
        with service.client("read", "operate", "admin") as api:
            assert api.get("/tokens").status_code == 200
            own.kill()
            for path in ("/tokens", "/users", "/audit", "/supervised", "/jobs", f"/sessions/{one.id}/equity"):
                answer = api.get(path)
                assert answer.status_code == 503, path
                assert answer.json()["detail"].startswith("the store does not")
                assert "127.0.0.1" not in answer.json()["detail"]
                assert answer.headers["retry-after"]
            one.bar(2)
            until(lambda: api.get(f"/sessions/{one.id}").json()["bars"] == 5)
            for answer in (api.get("/sessions"), api.get(f"/sessions/{one.id}/events"), api.get("/me")):
                assert answer.status_code == 200, "what journals say is shown all the same"
            assert api.post("/kill").status_code == 503
            assert api.get(f"/sessions/{one.id}/commands").json()[0]["word"] == "halt", "told, though not noted"
            assert httpx.post(f"{service.url}/api/v1/login", json={"name": "a", "password": "b"}).status_code == 503
            assert httpx.get(f"{service.url}/api/v1/health").status_code == 200
            own.start()
            until(lambda: api.get("/tokens").status_code == 200)
            # The same rows as in SQLite, to the bit.
            beside = ServiceStore(tmp_path / "sqlite")
            figures, found = Figures(beside), Places([tmp_path / "root"]).sessions()[one.id]
            equity = figures.equity(found, 0, LATEST_NS, 2000)
            assert api.get(f"/sessions/{one.id}/equity").json() == equity
            assert len(equity) == 6
            assert api.get(f"/sessions/{one.id}/fills").json() == figures.fills(found, 0, 500)
            beside.close()
    one.close()


def test_a_password_is_not_shown(tmp_path: Path, database: TestServer, monkeypatch: pytest.MonkeyPatch) -> None:
    url, bare = (f"postgresql://guarded{w}@127.0.0.1:{database.port}/postgres" for w in (f":{WORD}", ""))
    argv = [sys.executable, "-m", "experiments.serve", "--root", str(tmp_path), "--port", "0", "--store", bare]
    env = {**os.environ, "PYTHONPATH": str(ROOT), PASSWORD_OF_STORE: WORD}
    found = subprocess.run(argv, capture_output=True, text=True, env=env)
    assert found.returncode == 1
    assert "guarded@127.0.0.1" in found.stderr
    assert "password authentication failed" in found.stderr
    assert WORD not in found.stdout + found.stderr
    for wrong in (
        f"postgresql://guarded:{WORD}/x@127.0.0.1/db", f"postgresql://guarded:{WORD}@x@127.0.0.1/db",
        f"postgresql://guarded:{WORD}#x@127.0.0.1/db", f"postgresql://guarded:{WORD}?x@127.0.0.1/db",
        f"mysql://guarded:{WORD}@127.0.0.1/db", f"postgresql://guarded:{WORD}@127.0.0.1:port/db", WORD,
        f"postgresql://guarded@127.0.0.1/db?wrong={WORD}",
    ):  # fmt: skip
        with pytest.raises(UserError) as said:
            ServiceStore(tmp_path, wrong)
        assert WORD not in str(said.value), wrong
    monkeypatch.setenv(VARIABLE, url)
    with pytest.raises(Unavailable) as lost:
        token.main(["list", "--state", str(tmp_path)])
    assert WORD not in str(lost.value)
    with pytest.raises(SystemExit):
        supervise.main(["list", "--state", bare])


@pytest.mark.parametrize(
    ("module", "code", "extra"),
    [
        ("psycopg", "from experiments.serve import main; main(['--port', '0', '--store', "
         "'postgresql://x/y'])", "postgres"),
        ("psycopg", "from experiments.relay import main; main(['--to', 'postgresql://x/y'])", "postgres"),
        ("redis", "from experiments.relay import main; main(['--to', 'redis://x'])", "redis"),
        ("psycopg", "from qframe_rl.feeds import load, data; load.load(data.DataConfig(data='postgresql://x/y', "
         "symbols=('A/B',)))", "postgres"),
    ],
)  # fmt: skip
def test_what_is_not_installed_is_said_with_the_extra(module: str, code: str, extra: str, tmp_path: Path) -> None:
    whole = f"import sys; sys.modules[{module!r}] = None; {code}"
    found = subprocess.run(
        [sys.executable, "-c", whole], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert "UserError: " in found.stderr
    assert f"pip install 'qframe-rl[{extra}]'" in found.stderr


def test_the_rows_are_reached_with_the_password_of_the_variable(
    tmp_path: Path, database: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server of the tests asks for one of whom it calls guarded."""
    word = "p@ss/w:rd?#%"
    with psycopg.connect(f"postgresql://postgres@127.0.0.1:{database.port}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE ROLE guarded LOGIN SUPERUSER PASSWORD '{word}'")
        connection.execute("CREATE SCHEMA guarded AUTHORIZATION guarded")
    try:
        monkeypatch.setenv(PASSWORD_OF_STORE, word)
        store = ServiceStore(tmp_path, f"postgresql://guarded@127.0.0.1:{database.port}/postgres")
        assert store.rows("SELECT current_user") == [("guarded",)]
        assert word not in store.place
        store.close()
        monkeypatch.setenv(PASSWORD_OF_STORE, "another")
        with pytest.raises(Unavailable, match="password authentication failed"):
            ServiceStore(tmp_path, f"postgresql://guarded@127.0.0.1:{database.port}/postgres")
    finally:
        with psycopg.connect(
            f"postgresql://postgres@127.0.0.1:{database.port}/postgres", autocommit=True
        ) as connection:
            connection.execute("DROP SCHEMA guarded CASCADE")
            connection.execute("DROP ROLE guarded")


def test_an_address_shows_nothing_of_its_password() -> None:
    made = address_of(f"postgresql://guarded:{WORD}@127.0.0.1/db", ["postgresql"], "")
    assert (made.place, made.secrets) == ("postgresql://guarded@127.0.0.1/db", (WORD,))
    assert made.told(f"no {WORD}\nhere.") == "no *** here"
    assert WORD not in f"{made} {made!r}"


def _answers(store: ServiceStore) -> bool:
    try:
        store.rows("SELECT 1")
    except Unavailable:
        return False
    return True
