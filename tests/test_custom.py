"""Rewards, action schemes and features of a user: by object and path through every door, never by a checkpoint."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode

from qframe_rl import custom
from qframe_rl.config import UserError
from qframe_rl.features import features
from qframe_rl.feeds.history import HistoryFeed
from qframe_rl.gym.env import SessionEnv, TradingEnv
from qframe_rl.gym.make import make_env, make_vec
from qframe_rl.session import Session
from qframe_rl.types import Segment
from qframe_rl.venues.simulated import SimulatedVenue
from tests import own_functions as own
from tests.markets import panel

PLAIN: dict[str, Any] = {"features": ["log_return:1"], "episode_bars": 60}
OWN: dict[str, dict[str, Any]] = {
    "reward": {"reward": own.growth_less_risk},
    "reward by path": {"reward": "tests.own_functions:growth_less_risk"},
    "reward with parameters": {"reward": {"name": own.growth_less_risk, "aversion": 0.3}},
    "reward of a class": {"reward": {"name": own.Steady, "eta": 0.2}},
    "actions": {"actions": own.follow},
    "actions of a class": {"actions": {"name": "tests.own_functions:OneOf", "share": 0.5}},
    "feature": {"features": ["log_return:1", own.pressed, "tests.own_functions:pressed"]},
}


def walk(env: Any, n: int = 80) -> list[Any]:
    row, _ = env.reset(seed=3)
    env.action_space.seed(0)
    log = [row]
    for _ in range(n):
        log += env.step(env.action_space.sample())[:4]
    return log


@pytest.mark.parametrize("case", OWN)
def test_one_environment_a_batch_and_gymnasium_agree(case: str) -> None:
    history = panel(300, 2, seed=5, kind="spot")
    params = PLAIN | OWN[case]
    env = make_env("spot", history, **params)
    vec: Any = make_vec("spot", 4, history, **params)
    made: Any = gymnasium.make("QFrame/Spot-v1", history=history, **params)
    rows, _ = vec.reset(seed=3)
    row, _ = env.reset(seed=3)
    assert np.array_equal(row, rows[0])
    assert np.array_equal(row, made.reset(seed=3)[0])
    vec.action_space.seed(1)
    for _ in range(60):
        actions = vec.action_space.sample()
        one, many, third = env.step(actions[0]), vec.step(actions), made.step(actions[0])
        for a, b, c in zip(one[:4], many[:4], third[:4], strict=True):
            assert np.array_equal(a, b[0])
            assert np.array_equal(a, c)
    state = vec.snapshot()
    again = [vec.step(actions)[1] for _ in range(3)]
    vec.restore(state)
    assert np.array_equal(again, [vec.step(actions)[1] for _ in range(3)])


def test_a_session_pays_and_shows_the_same() -> None:
    history = panel(400, 2, seed=6, kind="spot", ragged=False)
    params = {"features": ["log_return:3", own.pressed], "reward": own.Steady, "actions": own.follow}
    env = make_env("spot", history, **(params | {"episode_bars": None}))
    assert isinstance(env, TradingEnv)
    row, _ = env.reset(seed=0)
    engine, window = env.engine, env.engine.interface.window
    feed = HistoryFeed(history, Segment(window, len(history)), window)
    from qframe_rl.gym.market import MarketConfig, market

    ready = market(
        "test", MarketConfig(**custom.in_params(params)), history.instruments, history.columns, history.bar_ns
    )
    venue = SimulatedVenue(ready.rules, ready.cash)
    live = SessionEnv(Session(feed, venue, window), engine.interface, engine.reward)
    seen, _ = live.reset()
    assert np.array_equal(row, seen)
    env.action_space.seed(4)
    for _ in range(300):
        action = env.action_space.sample()
        a, b = env.step(action), live.step(action)
        assert np.array_equal(a[0], b[0])
        assert a[1:4] == b[1:4]


def test_an_action_that_is_none_of_ones_own_space_is_refused() -> None:
    """Half a choice was cut to the whole one below it."""
    env = make_env("spot", panel(300, 2, seed=5, kind="spot"), actions=own.OneOf, **PLAIN)
    env.reset(seed=0)
    for wrong in (0.5, np.nan, 3, -1):
        with pytest.raises(ValueError, match=r"is not in Discrete\(3\)"):
            env.step(wrong)


def test_the_reward_is_the_users() -> None:
    history = panel(300, 1, seed=5, kind="spot", ragged=False)
    env = make_env("spot", history, reward=own.growth_less_risk, info=("equity", "exposure"), **PLAIN)
    _, before = env.reset(seed=0)
    for action in (2, 2, 0, 1, 1):
        _, paid, _, _, info = env.step(action)
        wanted = 100.0 * np.log(info["equity"] / before["equity"]) - 0.01 * info["exposure"][0] ** 2
        assert paid == pytest.approx(wanted)
        before = info


def test_a_reward_is_asked_of_no_empty_batch() -> None:
    """A batch of one waits for a step where its episode ends: there is no largest of no numbers."""
    params = {"features": ["log_return:1"], "episode_bars": 3, "reward": lambda bar: bar.equity / bar.equity.max()}
    vec = make_vec("spot", 1, panel(60, 1, kind="spot"), **params)
    vec.reset(seed=0)
    assert [float(vec.step(np.zeros(1, dtype=np.int64))[1][0]) for _ in range(5)] == [1.0, 1.0, 1.0, 0.0, 1.0]


def test_a_reward_remembers_to_the_end_of_its_episode() -> None:
    history = panel(300, 1, seed=5, kind="spot", ragged=False)
    reward = {"name": own.Steady, "eta": 0.25}
    vec: Any = make_vec(
        "spot", 2, history, reward=reward, info=("equity",), autoreset_mode=AutoresetMode.SAME_STEP,
        **PLAIN | {"episode_bars": 20},
    )  # fmt: skip
    _, infos = vec.reset(seed=0)
    before, mean, ends = infos["equity"], np.zeros(2), 0
    for _ in range(50):
        _, paid, _, over, infos = vec.step(np.array([2, 1]))
        after = np.where(over, infos["final_info"]["equity"] if over.any() else 0.0, infos["equity"])
        growth = np.log(after / before)
        mean += 0.25 * (np.abs(growth) - mean)
        assert paid == pytest.approx(growth - mean, abs=1e-12)
        ends += int(over.sum())
        before, mean = infos["equity"], np.where(over, 0.0, mean)
    assert ends == 4


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"reward": lambda bar: bar.equity[:1]}, "gave an array of shape"),
        ({"reward": lambda bar: bar.equity * np.nan}, "give a finite number"),
        ({"actions": lambda actions, exposure: exposure[:, :0]}, "targets"),
        ({"actions": lambda actions, exposure: exposure + np.inf}, "targets"),
    ],
)
def test_what_a_function_gives_is_looked_at(params: dict[str, Any], said: str) -> None:
    vec: Any = make_vec("spot", 3, panel(100, 2, kind="spot"), **PLAIN, **params)
    vec.reset(seed=0)
    with pytest.raises(ValueError, match=said):
        vec.step(vec.action_space.sample())


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"reward": "no.such.module:reward"}, "no module"),
        ({"reward": "tests.own_functions:rewrad"}, "has no 'rewrad'"),
        ({"reward": "tests.own_functions:not_callable"}, "no function and no class"),
        ({"reward": {"name": own.growth_less_risk, "weight": 3}}, "unexpected keyword argument 'weight'"),
        ({"reward": {"name": own.Steady, "weight": 3}}, "weight"),
        ({"features": [own.undeclared]}, "how many bars it looks back"),
        ({"reward": "tests.own_functions:growth_less_risk@0123456789abcdef"}, "another digest"),
        ({"reward": "elsewhere:unknown@0123456789abcdef"}, "hand it over by --reward elsewhere:unknown"),
        ({"features": ["log_return:x"]}, "needs 1 whole number"),
        ({"features": ["tests.own_functions:presed"]}, "has no 'presed'"),
        ({"actions": "elsewhere:unknown@0123456789abcdef"}, "hand it over by --actions"),
        ({"features": ["elsewhere:unknown@0123456789abcdef"]}, "hand it over by --feature"),
    ],
)
def test_what_is_not_there_is_one_sentence(params: dict[str, Any], said: str) -> None:
    custom.hand_over(own.growth_less_risk)
    with pytest.raises(UserError, match=said):
        make_env("spot", panel(100, 1, kind="spot"), **(PLAIN | params))


def test_a_feature_with_a_missing_bar_is_nan_and_sees_nothing_ahead() -> None:
    history = panel(200, 2, seed=2, kind="spot")
    (made,) = features((custom.hand_over(own.pressed),), ())
    rows = made.rows(history.values, history.time)
    for t in range(4, 200):
        window = history.values[t - 4 : t + 1]
        missing = np.isnan(window[:, :, 3]).any(axis=0)
        assert np.array_equal(np.isnan(rows[t]), missing)
        live = made.rows(window, history.time[t - 4 : t + 1], 4)
        assert np.array_equal(rows[t], live[0], equal_nan=True)
    assert np.isnan(rows[:4]).all()


BASE = """
    import numpy as np
    SCALE = 100.0
    def helper(x):
        return np.log(x)
    def reward(bar):
        return SCALE * helper(bar.equity / bar.before)
    class Rewards:
        limit = 3
        def __call__(self, bar):
            return helper(bar.equity)
"""
EDITS = {
    "a comment": ("return np.log(x)", "return np.log(x)  # natural", True),
    "a docstring": ("def reward(bar):", 'def reward(bar):\n        """Growth."""', True),
    "layout": (
        "SCALE * helper(bar.equity / bar.before)",
        "(SCALE *\n                helper(bar.equity / bar.before))",
        True,
    ),
    "the function": ("SCALE * helper", "2.0 * SCALE * helper", False),
    "a helper": ("return np.log(x)", "return np.log1p(x)", False),
    "a constant": ("SCALE = 100.0", "SCALE = 10.0", False),
    "something else": ("limit = 3", "limit = 4", True),
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_digest_is_that_of_the_code_and_of_what_it_uses(
    edit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    old, new, same = EDITS[edit]
    digests = []
    for k, text in enumerate((BASE, BASE.replace(old, new))):
        name = f"module_{abs(hash(edit))}_{k}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        digests.append(custom.by_path(f"{name}:reward").rpartition("@")[2])
    assert (digests[0] == digests[1]) == same


USED = """
    import functools
    import numpy as np
    STEP = 3
    TABLE = np.array([1.0, 2.0])
    SETTINGS = {"deep": [1, (2, {3})]}
    class Base:
        slope = 2.0
        @staticmethod
        def bend(x):
            return deeper(x)
    def deeper(x):
        return x * 1.0
    def doubled(function):
        @functools.wraps(function)
        def inner(bar):
            return 2.0 * function(bar)
        return inner
    def made(size):
        def inner(bar):
            return size * bar.equity
        return inner
    class Reward(Base):
        @property
        def size(self):
            return 5.0
        @classmethod
        def new(cls):
            return cls()
        def __call__(self, bar, step=STEP):
            return self.bend(bar.equity) * step * self.size
    @doubled
    def reward(bar, *, step=STEP):
        return TABLE[0] * bar.equity * SETTINGS["deep"][0] * step
    closed = made(7.0)
    unnamed = lambda bar: bar.equity * TABLE[1]
"""
SIBLINGS = {
    "a default": ("STEP = 3", "STEP = 4", {"Reward", "reward"}),
    "an array": ("[1.0, 2.0]", "[1.0, 2.5]", {"reward", "unnamed"}),
    "a nested constant": ("(2, {3})", "(2, {4})", {"reward"}),
    "a base class": ("slope = 2.0", "slope = 2.5", {"Reward"}),
    "what a base class calls": ("x * 1.0", "x * 1.5", {"Reward"}),
    "what decorates it": ("2.0 * function", "3.0 * function", {"reward"}),
    "what a closure holds": ("made(7.0)", "made(8.0)", {"closed"}),
    "a property": ("return 5.0", "return 6.0", {"Reward"}),
    "a class method": ("return cls()", "return cls", {"Reward"}),
    "an unnamed function": ("bar.equity * TABLE[1]", "bar.equity + TABLE[1]", {"unnamed"}),
}


@pytest.mark.parametrize("edit", SIBLINGS)
def test_whatever_it_uses_of_the_users_own_counts(edit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    old, new, changed = SIBLINGS[edit]
    assert USED.count(old) == 1
    digests = []
    for k, text in enumerate((USED, USED.replace(old, new))):
        name = f"used_{list(SIBLINGS).index(edit)}_{k}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        names = ("Reward", "reward", "closed", "unnamed")
        digests.append({one: custom.by_path(f"{name}:{one}").rpartition("@")[2] for one in names})
    assert {name for name in digests[0] if digests[0][name] != digests[1][name]} == changed


def test_a_digest_is_the_same_in_another_process(tmp_path: Path) -> None:
    (tmp_path / "used.py").write_text(textwrap.dedent(USED))
    code = "from qframe_rl.custom import by_path; print(*map(by_path, ('used:Reward', 'used:reward', 'used:closed')))"
    root = str(Path(__file__).resolve().parent.parent)
    said = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True,
            env={"PYTHONPATH": root, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in "123"
    }  # fmt: skip
    assert len(said) == 1


@pytest.mark.parametrize(
    "thing", [own.Steady(), own.Steady().__call__, np.log, 3.0], ids=["object", "method", "ufunc", "number"]
)
def test_what_is_neither_a_function_nor_a_class_is_refused(thing: Any) -> None:
    """Its code could not be told from another's."""
    with pytest.raises(UserError, match="neither a function nor a class"):
        custom.hand_over(thing)


def test_a_class_counts_with_all_that_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    found = set()
    for k, text in enumerate((BASE, BASE.replace("limit = 3", "limit = 4"), BASE.replace("np.log(x)", "np.sqrt(x)"))):
        (tmp_path / f"classes_{k}.py").write_text(textwrap.dedent(text))
        found.add(custom.by_path(f"classes_{k}:Rewards").rpartition("@")[2])
    assert len(found) == 3


def command(*arguments: str) -> list[str]:
    root = str(Path(__file__).resolve().parent.parent)
    code = f"import sys; sys.path.insert(0, {root!r}); from experiments.command import entry; sys.exit(entry())"
    return [sys.executable, "-c", code, *arguments]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=folder, capture_output=True, text=True, timeout=240)


def begun(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    quiet: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
    return subprocess.Popen(command(*arguments), cwd=folder, text=True, env=env, **quiet)


@pytest.mark.long
def test_a_strategy_of_ones_own_trades_on_paper_where_its_module_is_named(tmp_path: Path) -> None:
    """As `qframe new agent` writes it, in a folder that is no checkout; a checkpoint alone imports nothing."""
    assert run(tmp_path, "new", "agent", "my_idea").returncode == 0
    place = tmp_path / "strategies" / "my_idea.py"
    place.write_text(place.read_text() + "\nprint('IMPORTED')\n")
    done = run(
        tmp_path, "train", "--agents", "strategies.my_idea,flat", "--bars", "2000", "--resamples", "100", "--ledger",
        "ledger.db", "--promote-anyway", "strategies.my_idea",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = next(p for p in (tmp_path / "checkpoints").iterdir() if (p / "checkpoint.json").exists())
    paper = ("paper", str(made), "--feed", "replay", "--speed", "max")
    for asked in ((), ("--trust", "strategies.other"), ("--trust", "my_idea")):
        refused = run(tmp_path, *paper, *asked)
        assert refused.returncode == 2
        assert "IMPORTED" not in refused.stdout
        assert "Traceback" not in refused.stderr
    assert "--trust strategies.my_idea" in run(tmp_path, *paper).stderr
    trusted = ("--trust", "strategies.my_idea")
    shutil.copytree(made, tmp_path / "copy")
    traded = run(tmp_path, *paper, *trusted, "--shadow", "copy", "--json")
    assert traded.returncode == 0, traded.stderr
    said = json.loads(traded.stdout.replace("IMPORTED", ""))
    assert said["shadows"]["copy"]["bars"] == said["bars"] > 0, "what a session was given its shadows are given"
    again = run(tmp_path, "replay", said["journal"], *trusted)
    assert again.returncode == 0, again.stderr
    scored = run(tmp_path, "evaluate", str(made), "--ledger", "ledger.db", *trusted)
    assert scored.returncode == 0, scored.stderr
    more = ("--with", "feed=replay", "--with", "speed=max", "--root", "checkpoints")
    for name, given, came in (("without", (), "FAILED"), ("with", trusted, "STOPPED")):
        assert run(tmp_path, "supervise", "add", name, "--checkpoint", made.name, *more).returncode == 0
        with begun(tmp_path, "supervise", "--root", "checkpoints", *given) as supervisor:
            said = standing(tmp_path, name, came)
            supervisor.send_signal(signal.SIGTERM)
            supervisor.communicate()
        assert ("--trust strategies.my_idea" if came == "FAILED" else "it came to its end") in said["why"]


def standing(folder: Path, name: str, wanted: str) -> dict[str, Any]:
    """What a supervisor says of a session once it is in a state."""
    for _ in range(120):
        listed = json.loads(run(folder, "supervise", "list", "--json").stdout)["supervised"]
        (one,) = [one for one in listed if one["name"] == name]
        if one["state"] == wanted and one["why"]:
            return dict(one)
        time.sleep(0.5)
    raise AssertionError(one)


@pytest.mark.long
def test_a_checkpoint_knows_name_and_digest_and_imports_nothing(tmp_path: Path) -> None:
    """Trained with a reward and a scheme of the user's own; whoever loads it hands both over, or is told how."""
    source = (
        "import numpy as np\n{}def growth(bar):\n    return 100.0 * np.log(np.maximum(bar.equity, 1e-9) / bar.before)\n"
    )
    scheme = "def follow(actions, exposure):\n    return 0.5 * (exposure + abs(actions))\n"
    (tmp_path / "mine.py").write_text(source.format("print('IMPORTED')\n") + scheme)
    given = ("--reward", "mine:growth", "--actions", "mine:follow")
    done = run(
        tmp_path, "train", "--preset", "quick", "--agents", "ppo", "--promote-anyway", "ppo", "--ledger", "ledger.db",
        "--bars", "2500", "--set", "agent.ppo.total_steps=4000", *given,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    place = next(p for p in (tmp_path / "checkpoints").iterdir() if (p / "checkpoint.json").exists())
    text = (place / "checkpoint.json").read_text()
    assert "mine:growth@" in text
    assert "mine:follow@" in text
    paper = ("paper", str(place), "--feed", "replay", "--speed", "max")
    for asked, said in (((), "--actions mine:follow"), (given[2:], "--reward mine:growth")):
        refused = run(tmp_path, *paper, *asked)
        assert refused.returncode == 2
        assert f"hand it over by {said}" in refused.stderr
        assert ("IMPORTED" in refused.stdout) == bool(asked)
    traded = run(tmp_path, *paper, *given)
    assert traded.returncode == 0, traded.stderr
    scored = run(tmp_path, "evaluate", str(place), "--ledger", "ledger.db", *given)
    assert scored.returncode == 0, scored.stderr
    (tmp_path / "mine.py").write_text(source.format("").replace("100.0", "10.0") + scheme)
    edited = run(tmp_path, *paper, *given)
    assert edited.returncode == 2
    assert "another digest" in edited.stderr
