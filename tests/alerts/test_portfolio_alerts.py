"""Alerts of portfolios: a supervisor sends them to a webhook, once it takes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from qframe_rl.service.booking import PortfolioSpec
from qframe_rl.service.notices import PortfolioNotices
from qframe_rl.service.portfolios import Portfolios
from qframe_rl.service.store import ServiceStore
from tests.alerts.test_alerts import hook, until
from tests.service.test_supervise import begun, ended

__all__ = ["hook"]


def test_a_supervisor_sends_each_once_to_a_webhook_that_was_away(
    tmp_path: Path,
    hook: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APPRISE_URLS", hook.url)
    store = ServiceStore(tmp_path / "state")
    notices = PortfolioNotices(store)
    Portfolios(store).make("main", PortfolioSpec())
    notices.say("main", "ramp", "a raised from 0.05 to 0.25 of its share", alert=True)
    notices.say("main", "rebalance", "rebalanced")
    hook.down = True
    supervisor = begun(tmp_path)
    assert supervisor.stderr is not None
    try:
        said = supervisor.stderr.readline()
        assert "does not take messages" in said
        assert hook.url not in said
        hook.down = False
        until(lambda: notices.latest("main", 2)[1].sent_ns is not None, 30.0)
        assert [(got["title"], got["message"]) for got in hook.got] == [
            ("QFrame: ramp of portfolio main", "main: a raised from 0.05 to 0.25 of its share")
        ]
    finally:
        assert ended(supervisor, 15) == 0
        store.close()
