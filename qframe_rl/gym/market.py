"""A market: rules, interface, reward and money, joined; what a file in ``envs/`` makes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

from gymnasium.vector import AutoresetMode
from pydantic import Field, field_validator, model_validator

from qframe_rl.agent import MarketSpec
from qframe_rl.config import Base, Ref, UserError
from qframe_rl.feeds.data import LENGTH
from qframe_rl.feeds.finer import check_finer
from qframe_rl.feeds.presets import one_quote, opening_cash
from qframe_rl.gym.engine import BatchEngine
from qframe_rl.gym.env import TradingEnv
from qframe_rl.gym.info import RECORDED, checked
from qframe_rl.gym.packed import PackedHistory, tape_of
from qframe_rl.gym.paths import BootstrapPaths, ResampledPaths, paths_named, paths_of, tape_of_paths
from qframe_rl.gym.reward import Reward, reward
from qframe_rl.gym.vector import VectorTradingEnv
from qframe_rl.interface import PANELS, MarketInterface, Observer, Parts
from qframe_rl.kernel.rules import HALF_SPREAD, TAKER, Rules, rules_of
from qframe_rl.risk.limits import Limits
from qframe_rl.types import DAY, History, Instrument, Segment, Segments, timeframe_name, timeframe_ns

FEATURES = (
    "log_return:1",
    "log_return:4",
    "log_return:24",
    "volatility:24",
    "volatility:168",
    "range:24",
    "volume_z:48",
    "rsi:14",
    "macd:8:24",
    "macd:16:48",
    "ma_distance:24",
    "ma_distance:168",
    "day_sin",
    "day_cos",
    "week_sin",
    "week_cos",
    "columns",
)


Volume = Annotated[float, Field(ge=0.0, le=1e15)]
"""Quote currency."""
Fee = Annotated[float, Field(ge=0.0, lt=1000.0)]
"""Basis points."""


class MarketConfig(Base):
    """What every market has."""

    features: tuple[str, ...] = Field(default=FEATURES, max_length=1000)
    """Features that a policy sees of each instrument; `qframe_rl.features.known` lists them."""
    n_rows: int = Field(default=1, ge=1, le=10_000)
    """Bars whose features are shown at once. The features look back by themselves, so one is enough for a policy
    without memory."""
    show_locks: bool = False
    """Whether a policy sees which longs and shorts the protections among the limits lock, and for how long."""
    show_limits: bool = False
    """Whether a policy sees how much of ``max_drawdown`` and ``daily_loss`` is used up, and whether orders only
    reduce."""
    show_resting: bool = False
    """Whether a policy sees how far from the price its nearest orders rest, below and above, and when exits end."""
    actions: Ref = Ref(name="levels")
    """Action scheme: levels, exposure, simplex, delta, limit or bracket, with its parameters."""
    reward: Ref = Ref(name="log_growth")
    """Reward: log_growth, differential_sharpe or drawdown, with its parameters."""
    episode_bars: int | None = Field(default=720, ge=1, le=1_000_000)
    """Length of a training episode in bars, begun at a random bar; null = the whole training period."""
    paths: Ref = Ref(name="measured")
    """What is trained on: measured bars, or bootstrap, paths rebuilt from jointly resampled moves of the training bars,
    with its parameters paths and block. Nothing else is resampled."""
    cash: float | None = Field(default=None, gt=0.0, le=1e15)
    """Quote currency at the start; null = by currency: 10,000 dollars or euros, 1 BTC, 10 ETH, 100 BNB."""
    taker_fee_bps: float | None = Field(default=None, ge=0.0, lt=1000.0)
    """Fee on orders that take, basis points of notional; null = the instrument's own."""
    maker_fee_bps: float | None = Field(default=None, gt=-100.0, lt=1000.0)
    """Fee on orders that rest, basis points of notional, negative for a rebate; null = the instrument's own."""
    half_spread_bps: float = Field(default=1.0, ge=0.0, lt=1000.0)
    """Half of the bid-ask spread, paid by market and stop orders, basis points of the price."""
    impact: float = Field(default=0.006, ge=0.0, lt=1.0)
    """Square-root impact: an order of quantity q loses impact x sqrt(q / bar volume) of its price. The default is
    a daily volatility of 3 % over sqrt(24) hourly bars."""
    volume_share: float = Field(default=0.1, gt=0.0, le=1.0)
    """Largest share of a bar's volume that one order can fill."""
    fee_tiers: tuple[tuple[Volume, Fee], ...] = Field(default=(), max_length=20)
    """Volume of the last 30 days from which a lower fee on orders that take holds, quote currency, and that fee, basis
    points: ``[[1e6, 4], [2e7, 3]]``, or ``1e6:4,2e7:3`` on the command line. It bounds each instrument's own fee."""

    detail: str | None = Field(default=None, pattern=LENGTH)
    """Length of finer bars, such as 1m, on which orders that rest and liquidations are resolved where they are near;
    null = a bar is one step. The bars must come with finer ones."""

    @model_validator(mode="before")
    @classmethod
    def _as_before(cls, values: object) -> object:
        """Read ``universe``, as `paths` was called by checkpoints of before there were universes of instruments."""
        if not isinstance(values, Mapping) or "universe" not in values or "paths" in values:
            return values
        return {("paths" if key == "universe" else key): given for key, given in values.items()}

    @field_validator("fee_tiers", mode="before")
    @classmethod
    def _paired(cls, tiers: object) -> object:
        """Read ``1e6:4,2e7:3`` too."""
        parts = tiers.split(",") if isinstance(tiers, str) else tiers
        if not isinstance(parts, list | tuple):
            return tiers
        return tuple(tuple(part.split(":")) if isinstance(part, str) else part for part in parts)

    @field_validator("fee_tiers")
    @classmethod
    def _falling(cls, tiers: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
        volumes, fees = [volume for volume, _ in tiers], [fee for _, fee in tiers]
        if volumes != sorted(set(volumes)) or fees != sorted(set(fees), reverse=True):
            raise ValueError("volumes must rise and fees fall from tier to tier")
        return tiers


@dataclass(frozen=True)
class Market:
    """A market as one account meets it."""

    name: str
    """Its name in the catalogue."""
    instruments: tuple[Instrument, ...]
    bar_ns: int
    rules: Rules
    interface: MarketInterface
    reward: Reward
    cash: float
    episode_bars: int | None
    limits: Limits = field(default_factory=Limits)
    """Of the risk engine in front of every account: of environments, backtests and studies."""
    paths: BootstrapPaths | None = None
    """Paths that are trained on instead of measured bars."""

    def fit(self, parts: Parts) -> Market:
        """Return the same market with its scaler fitted on the rows of the parts' segments alone."""
        return replace(self, interface=self.interface.fit(parts))

    def lessons(self, parts: Parts, seed: int) -> Parts | ResampledPaths:
        """What a training on these histories walks: themselves, or paths made of their moves from a seed."""
        if self.paths is None:
            return parts
        return paths_of(parts, self.paths, self.interface.window, self.episode_bars, seed)

    def tape(self, parts: Parts | ResampledPaths) -> PackedHistory:
        """Bars and features of histories or paths, to share among environments."""
        observer, detail_ns = self.interface.observer, self.rules.detail_ns
        if isinstance(parts, ResampledPaths):
            return tape_of_paths(parts, observer, len(self.instruments))
        for history, _ in parts:
            check_finer(history, detail_ns)
        return tape_of(parts, observer, finer=detail_ns > 0)

    def engine(self, tape: PackedHistory, n_envs: int, *, recorded: bool = False) -> BatchEngine:
        """A batch of accounts.

        Parameters
        ----------
        tape
            Bars and features, from `tape`.
        n_envs
            Accounts of the batch.
        recorded
            Keep what became of the orders of the last bar.
        """
        return BatchEngine(
            tape, self.interface, self.rules, self.reward, self.cash, self.episode_bars, n_envs, recorded=recorded,
            limits=self.limits,
        )  # fmt: skip

    def env(
        self,
        tape: PackedHistory,
        render_mode: str | None = None,
        info: Iterable[str] = ("equity", "time"),
        observation: str = "window",
    ) -> TradingEnv:
        """One environment.

        Parameters
        ----------
        tape
            Bars and features, from `tape`.
        render_mode, info, observation
            As in `TradingEnv`.
        """
        symbols = tuple(i.symbol for i in self.instruments)
        return TradingEnv(self.engine(tape, 1, recorded=True), render_mode, symbols, info, observation)

    def vec(
        self,
        tape: PackedHistory,
        n_envs: int,
        mode: AutoresetMode = AutoresetMode.NEXT_STEP,
        observation: str = "window",
        info: Iterable[str] = (),
    ) -> VectorTradingEnv:
        """A batch of environments.

        Parameters
        ----------
        tape
            Bars and features, from `tape`.
        n_envs
            Environments of the batch.
        mode, observation, info
            ``autoreset_mode``, ``observation`` and ``info`` of `VectorTradingEnv`.
        """
        names = checked(info)
        engine = self.engine(tape, n_envs, recorded=bool(RECORDED & set(names)))
        return VectorTradingEnv(engine, mode, observation, names)

    def spec(self, columns: tuple[str, ...], seed: int, theory: Mapping[str, float] | None = None) -> MarketSpec:
        """What a strategy may know before the first bar.

        Parameters
        ----------
        columns
            Names of the feed's channels after volume.
        seed
            Root of all randomness of the agent.
        theory
            Constants of the known optimum, where the market has one.
        """
        cost = float((self.rules.table[:, TAKER] + self.rules.table[:, HALF_SPREAD]).max())
        return MarketSpec(
            self.instruments,
            columns,
            self.bar_ns,
            self.rules.leverage,
            self.rules.shorting,
            cost,
            self.interface,
            seed,
            theory,
        )


def market(
    name: str,
    config: MarketConfig,
    instruments: tuple[Instrument, ...],
    columns: tuple[str, ...],
    bar_ns: int,
    *,
    leverage: float = 1.0,
    shorting: bool = False,
    liquidation_fee: float = 0.0,
    owned: tuple[bool, ...] = (),
    transfer_bars: int = 0,
    margin_earns: bool = False,
) -> Market:
    """Join a configuration and the instruments' own rules into a market.

    Parameters
    ----------
    name
        Name in the catalogue.
    config
        Observations, actions, reward and costs.
    instruments, columns, bar_ns
        What the feed delivers.
    leverage, shorting, liquidation_fee, owned, transfer_bars, margin_earns
        As in `qframe_rl.kernel.rules.rules_of`.

    Raises
    ------
    UserError
        For an unknown feature, scheme or reward, costs that could take a price to zero, instruments that are priced in
        several currencies, or no cash for one whose worth is not known.
    """
    priced = tuple(_with_fees(instrument, config) for instrument in instruments)
    if config.half_spread_bps / 1e4 + config.impact * config.volume_share**0.5 >= 1.0:
        raise UserError(f"env {name}: half_spread_bps and impact together would take a price to zero; lower them.")
    rules = rules_of(
        priced,
        half_spread=config.half_spread_bps / 1e4,
        impact=config.impact,
        volume_share=config.volume_share,
        liquidation_fee=liquidation_fee,
        leverage=leverage,
        shorting=shorting,
        owned=owned,
        transfer_bars=transfer_bars,
        margin_earns=margin_earns,
        fee_tiers=tuple((volume, fee / 1e4) for volume, fee in config.fee_tiers),
        day_bars=DAY / bar_ns,
        detail_ns=_detail_ns(name, config, bar_ns),
    )
    observer = Observer(
        config.features, config.n_rows, len(instruments), columns, bar_ns=bar_ns,
        panels=[name for name in PANELS if getattr(config, f"show_{name}")],
    )  # fmt: skip
    interface = MarketInterface(observer, config.actions.name, config.actions.params)
    one_quote(instruments)
    cash = opening_cash(instruments) if config.cash is None else config.cash
    return Market(
        name, priced, bar_ns, rules, interface, reward(config.reward), cash, config.episode_bars,
        paths=paths_named(config.paths),
    )  # fmt: skip


def _detail_ns(name: str, config: MarketConfig, bar_ns: int) -> int:
    if config.detail is None:
        return 0
    ns = timeframe_ns(config.detail)
    if ns >= bar_ns or bar_ns % ns:
        raise UserError(
            f"env {name}: detail {config.detail} must be shorter than a bar, and bars of {timeframe_name(bar_ns)} "
            "whole multiples of it; take another one, or none."
        )
    if paths_named(config.paths) is not None:
        raise UserError(f"env {name}: paths {config.paths.name} have no finer bars; leave detail or paths out.")
    return ns


def _with_fees(instrument: Instrument, config: MarketConfig) -> Instrument:
    maker = instrument.maker_fee if config.maker_fee_bps is None else config.maker_fee_bps / 1e4
    taker = instrument.taker_fee if config.taker_fee_bps is None else config.taker_fee_bps / 1e4
    return replace(instrument, maker_fee=maker, taker_fee=taker)


def whole(history: History) -> Segments:
    """One segment: every row."""
    return (Segment(0, len(history)),)
