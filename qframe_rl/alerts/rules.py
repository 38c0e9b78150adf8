"""Rules that look at a session and say when a human should know."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from qframe_rl.agent import View
from qframe_rl.alerts.config import AlertConfig
from qframe_rl.alerts.delistings import NOW
from qframe_rl.journal.store import Alert
from qframe_rl.listeners import CashFlow
from qframe_rl.risk.engine import RiskDecision
from qframe_rl.types import CLOSE, DAY, HOUR, SECOND, Orders, iso

_PROMISED = {
    "below": "what it earns is below what its checkpoint's scores forecast",
    "inside": "what it earns is inside what its checkpoint's scores forecast",
    "too early": "it is too early to tell whether what it earns is what its checkpoint's scores forecast",
}


class Alerts:
    """A listener that turns bars and changes of state into alerts: each rule once in a while, all not too often.

    Time is that of the bars, so a session that is run again says the same.

    Parameters
    ----------
    config
        When to speak.
    name
        Of the session, put before each text.
    symbols
        Of the A instruments.
    say
        Takes what is to be said.
    drift
        Present mean drift, basis points; None while there is none.
    late
        How late the last bar arrived, ns.
    ends
        When markets end of which it is known, ns UTC or `NOW`.
    promise
        How what is earned stands to what was forecast: inside, below, too early; None where nothing was.
    columns
        Names of the channels after the first five.
    shadows
        How each shadow stands to the session, by name.
    """

    option = "alerts"

    def __init__(
        self,
        config: AlertConfig,
        name: str,
        symbols: Sequence[str],
        say: Callable[[Alert], None],
        drift: Callable[[], float | None],
        late: Callable[[], int],
        ends: Callable[[], Mapping[str, int]] = dict,
        promise: Callable[[], str | None] = lambda: None,
        columns: Sequence[str] = (),
        shadows: Callable[[], Mapping[str, Any]] = dict,
    ):
        self._config, self._name, self._symbols = config, name, symbols
        self._say, self._drift, self._late, self._ends = say, drift, late, ends
        self._promise, self._answer = promise, "too early"
        self._shadows, self._stood = shadows, dict[str, str]()
        self._lacking, self._columns, self._silent = [0] * len(symbols), columns, [0] * len(columns)
        self._intents: dict[str, tuple[str, str]] = {}
        self._time = 0
        self._peak = self._day_equity = 0.0
        self._day, self._trades, self._fees = -1, 0, 0.0
        self._said: dict[str, int] = {}
        self._recent: deque[int] = deque()
        self._held_back = 0

    def carried(self) -> dict[str, Any]:
        """What was said when, and the figures of the day."""
        return {
            "peak": self._peak, "day": self._day, "day_equity": self._day_equity, "trades": self._trades,
            "fees": self._fees, "said": self._said, "recent": list(self._recent), "held_back": self._held_back,
            "lacking": self._lacking, "silent": self._silent, "answer": self._answer, "stood": self._stood,
        }  # fmt: skip

    def carry(self, memory: Mapping[str, Any], view: View) -> None:
        """Take over what `carried` returned."""
        self._peak, self._day, self._day_equity = memory["peak"], memory["day"], memory["day_equity"]
        self._trades, self._fees, self._held_back = memory["trades"], memory["fees"], memory["held_back"]
        self._said, self._recent = dict(memory["said"]), deque(memory["recent"])
        self._lacking, self._time, self._answer = list(memory["lacking"]), view.time, memory["answer"]
        self._silent = list(memory.get("silent", self._silent))  # earlier versions did not count them
        self._stood = dict(memory.get("stood", {}))

    def started(self, view: View) -> None:
        """Take the first equity as the highest."""
        self._peak = self._day_equity = float(view.account.equity)
        self._day, self._time = view.time // DAY, view.time

    def paid(self, flow: CashFlow) -> None:
        """Say it, and take it out of the figures."""
        self._peak *= flow.scale
        self._day_equity *= flow.scale
        way = "paid in" if flow.units > 0 else "paid out"
        self.tell(flow.time, "transfer", f"{abs(flow.units) / 1e8:,.2f} {way}; equity is {flow.after:,.2f} now")

    def settled(self, view: View, orders: Orders) -> None:
        """Apply the rules to one bar."""
        time, equity, config = view.time, float(view.account.equity), self._config
        self._time = time
        self._peak = max(self._peak, equity)
        self._trades += int((view.fills.quantity != 0.0).sum())
        self._fees += float(view.fills.fee.sum())
        if self._peak > 0.0 and equity <= self._peak * (1.0 - config.drawdown):
            self.tell(time, "drawdown", f"equity {equity:,.2f} is {1.0 - equity / self._peak:.1%} under its highest")
        market = (orders.quantity != 0.0) & np.isnan(orders.limit) & np.isnan(orders.stop)
        unfilled = market & (view.fills.quantity == 0.0) if view.fills.slots is None else np.zeros(0)
        for a in np.flatnonzero(unfilled).tolist():
            self.tell(
                time, "rejected", f"nothing of an order for {orders.quantity[a]:+g} {self._symbols[a]} was filled"
            )
        if self._late() > config.stale_s * SECOND:
            self.tell(time, "stale", f"a bar came {self._late() / SECOND:,.0f} s after its close")
        drift = self._drift()
        if drift is not None and drift > config.drift_bps:
            self.tell(time, "drift", f"real books cost {drift:.1f} bps more than the backtest's rule")
        self._kept(time)
        self._compared(time)
        self._markets(view)
        if view.terminated:
            self.tell(time, "liquidated", f"the account is gone: equity {equity:,.2f}")
        if time // DAY != self._day:
            self._summary(time, equity)

    def recorded(self, kind: str, payload: Mapping[str, Any]) -> None:
        """Say, when it is put on record, that an order did not go out, and what an exchange does not answer."""
        if kind == "intent":
            amount = f"{payload['quantity']:+g} {payload['symbol']}"
            self._intents[payload["name"]] = payload["symbol"], f"the order for {amount}"
        if kind in ("outcome", "resolved"):
            self._outcome(payload)
        if kind == "cancelled" and payload.get("left"):
            left = ", ".join(payload["left"])
            self.tell(self._time, "not cancelled", f"orders of {left} are not cancelled yet; they are tried again")
        if kind == "held" and payload["position"] is None:
            why = f"what is held is not shown ({payload['why']}); what was known is closed, and the rest when it is"
            self.tell(self._time, "not shown", why)
        if kind == "refit" and payload["state"] != "taken":
            why = f"model {payload['number']} is {payload['state']} ({payload.get('reason', '')})"
            self.tell(payload["time"], f"refit {payload['state']}", f"{why}; the one before goes on")
        if kind == "rules":
            stated = "; ".join(
                f"{i['symbol']} lot {i['lot']:g}, tick {i['tick']:g}, least value {i['min_notional']:g}, "
                f"fees {i['maker_fee']:g} and {i['taker_fee']:g}"
                for i in payload["instruments"]
            )
            self.tell(self._time, "rules", f"the exchange changed its rules; now {stated}")
        if kind == "aside":
            coins = [f"{units / 1e8:.8f} of {symbol}" for symbol, units in payload["coins"].items()]
            cash = [f"{payload['cash'] / 1e8:,.8f} of cash"] if payload["cash"] else []
            what = f"{', '.join([*coins, *cash]) or 'nothing'} came from outside and is set aside"
            self.tell(self._time, "set aside", f"{what}; `control adopt` gives it to the session")
        if kind == "lost":
            why = f"the account is not shown ({payload['why']}); no bar is settled until it is, commands are obeyed"
            self.tell(self._time, "not shown", why)

    def _outcome(self, said: Mapping[str, Any]) -> None:
        name, status = said["name"], said["status"]
        symbol, order = self._intents.get(name, (f"name {name}", f"the order for name {name}"))
        if status == "unknown":
            text = (
                f"it is not known whether {order} arrived ({said.get('why')}); it is looked for, and all else goes on"
            )
            self.tell(self._time, f"unknown {symbol}", text)
            return
        self._intents.pop(name, None)
        if status != "accepted":
            self.tell(self._time, f"not taken {symbol}", f"{order} was not taken ({status}): {said.get('why')}")

    def _kept(self, time: int) -> None:
        """Say that it stands otherwise to what was forecast than before."""
        answer = self._promise()
        if answer is not None and answer != self._answer:
            before, self._answer = self._answer, answer
            self.tell(time, f"promise {answer}", f"{_PROMISED[answer]}; it was {before} before")

    def _compared(self, time: int) -> None:
        """Say which shadows stand otherwise to the session than before."""
        for name, one in self._shadows().items():
            answer = "gone" if one["gone"] else one["answer"]
            before = self._stood.get(name, "open")
            self._stood[name] = answer
            if answer != before:
                text = f"shadow {name} is {answer}; it was {before} before ({one['bars']} bars compared)"
                self.tell(time, f"shadow {name} {answer}", text)

    def _markets(self, view: View) -> None:
        """Say which markets are gone, or about to be, and which columns have fallen silent."""
        lacks = np.isnan(view.bars[-1, :, CLOSE])
        self._lacking = [n + 1 if lack else 0 for n, lack in zip(self._lacking, lacks.tolist(), strict=True)]
        for symbol, n in zip(self._symbols, self._lacking, strict=True):
            if n >= self._config.gone_bars:
                self.tell(view.time, f"no bars {symbol}", f"no bars of {symbol}, {n} in a row: halted, or gone", DAY)
        if not lacks.all():
            blank = np.asarray(np.isnan(view.bars[-1, ~lacks, 5:]).all(axis=0))
            self._silent = [n + 1 if none else 0 for n, none in zip(self._silent, blank.tolist(), strict=True)]
        for name, n in zip(self._columns, self._silent, strict=True):
            if n >= self._config.gone_bars:
                self.tell(view.time, f"no values {name}", f"column {name} has no value, {n} bars in a row", DAY)
        for symbol, at in self._ends().items():
            if at == NOW:
                self.tell(view.time, f"delisting {symbol}", f"{symbol} is not traded any more, or being delisted", DAY)
            elif at - view.time <= self._config.delisted_days * DAY:
                self.tell(view.time, f"delisting {symbol}", f"{symbol} is delisted at {iso(at)}", DAY)

    def ended(self, view: View) -> None:
        """Nothing to say."""

    def decided(self, view: View, verdict: RiskDecision, seconds: float) -> None:
        """Decisions are ordinary."""

    def changed(self, time: int, state: str, reasons: Sequence[str]) -> None:
        """Say that the state of trading changed."""
        self.tell(time, f"state {state}", f"trading is {state}: {'; '.join(reasons)}")

    def tell(self, time: int, rule: str, text: str, least: int = 0) -> None:
        """Say something at ``time`` (ns UTC), unless it was said lately (``least`` ns ago) or too much was said."""
        last = self._said.get(rule)
        if last is not None and time - last < max(least, self._config.repeat_s * SECOND):
            return
        while self._recent and self._recent[0] <= time - HOUR:
            self._recent.popleft()
        if len(self._recent) >= self._config.per_hour:
            self._held_back += 1
            return
        self._said[rule] = time
        self._recent.append(time)
        more = f" ({self._held_back} alerts were held back)" if self._held_back else ""
        self._held_back = 0
        self._say(Alert(rule, f"{self._name}, {iso(time)}: {text}{more}"))

    def _summary(self, time: int, equity: float) -> None:
        change = equity / self._day_equity - 1.0 if self._day_equity > 0.0 else 0.0
        text = f"equity {equity:,.2f} ({change:+.2%}), {self._trades} fills, fees {self._fees:,.2f}"
        self.tell(time, "daily summary", text)
        self._day, self._day_equity, self._trades, self._fees = time // DAY, equity, 0, 0.0
