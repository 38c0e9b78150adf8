"""A failure of who looks on is one sentence, and the session goes on."""

from __future__ import annotations

import pytest

from qframe_rl.listeners import Soft


def fails() -> int:
    raise OSError(28, "No space left on device", "/log")


def test_a_failure_is_said_again_after_an_hour_and_its_end_once() -> None:
    said: list[str] = []
    now = [0.0]
    soft = Soft(said.append, lambda: now[0])
    for _ in range(10):
        assert soft.run("--log", fails) is None
        now[0] += 300.0
    assert said == [
        "--log: [Errno 28] No space left on device: '/log'; the session goes on without, and it is tried again."
    ]
    assert soft.run("--log", lambda: 7) == 7
    assert said[1:] == ["--log: works again, after 10 failures."]
    soft.run("--log", fails)
    soft.run("--log", lambda: 7)
    assert len(said) == 2, "within the hour neither is said"
    now[0] += 3600.0
    soft.run("--log", fails)
    assert len(said) == 3


def test_each_is_said_by_itself() -> None:
    said: list[str] = []
    soft = Soft(said.append)
    soft.run("one", fails)
    soft.run("two", lambda: 1 // 0)
    assert [text.partition(";")[0] for text in said] == [
        "one: [Errno 28] No space left on device: '/log'",
        "two: ZeroDivisionError: integer division or modulo by zero",
    ]


def test_who_wants_to_stop_can() -> None:
    def stops() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Soft(lambda text: None).run("one", stops)
