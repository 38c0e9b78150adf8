"""Which market data to load, by name: the one door to stores, files, exchanges and generators."""

from __future__ import annotations

from pydantic import Field, field_validator

from qframe_rl.config import Base
from qframe_rl.feeds.universe_rule import universe_rule
from qframe_rl.servers import POSTGRES, is_address, unlocked

LENGTH = r"^[1-9]\d*[smhdw]$"
"""Form of a bar's length."""


class DataConfig(Base):
    """Where bars come from and which."""

    data: str = "synthetic:ar1"
    """Folder of a Parquet store, postgresql://... (download fills it), a file of candles, ccxt:EXCHANGE,
    synthetic:NAME, or settlements:FILE, a long table of timestamp, symbol and settle. Timestamps in files are the opens
    of the bars."""
    exchange: str = "binance"
    """Exchange of a store, as CCXT spells it; USD-margined perpetuals are under EXCHANGE_um."""
    symbols: tuple[str, ...] = ()
    """Symbols such as BTC/USDT; perpetuals as BTC/USDT:USDT."""
    universe: str | None = None
    """Which of the symbols may be bought, by a rule of what was known: top:N:volumeLENGTH (the N largest by trailing
    quote volume, such as top:20:volume30d) or all; then, with commas between, age:LENGTH, price:LOW[:HIGH],
    volatilityLENGTH:LOW[:HIGH], spread:COLUMN:HIGH, notice:COLUMN, traded:LENGTH, allow:SYMBOL+SYMBOL,
    deny:SYMBOL+SYMBOL and renew:daily|weekly|monthly|LENGTH (monthly). What is outside can only be reduced. In a store
    all its symbols are candidates where none are named."""
    timeframe: str = Field(default="1h", pattern=LENGTH)
    """Length of a bar, such as 1m, 1h, 4h or 1d."""
    detail: str | None = Field(default=None, pattern=LENGTH)
    """Length of finer bars that come along, such as 1m, of the same place; env.detail asks for them."""
    since: str | None = None
    """First moment, ISO 8601 UTC; none = all there is."""
    until: str | None = None
    """Last moment, ISO 8601 UTC; none = all there is."""
    columns: tuple[str, ...] = ()
    """Further series to show to policies, each NAME=FILE:COLUMN[:DELAY[:AGE]], joined once they were known: bars when
    they have closed, other files from a column published, or DELAY (such as 1d) after their timestamps; 0s if these are
    the times of publication. A value older than AGE is none. NAME=ticks:FEATURE is what recorded order books say of
    each bar, such as flow=ticks:ofi; NAME=texts:FILE:STATISTIC:WINDOW what headlines say, such as
    news=texts:news.parquet:mean:24h; NAME=decisions:FILE what was decided outside (qframe decisions)."""
    funding: str = Field(default="require", pattern="^(require|zero)$")
    """What to do for a perpetual without funding rates: ``require`` refuses, ``zero`` trades without funding."""
    map: tuple[str, ...] = ()
    """Which column of a file is what, where that cannot be told, each ROLE=COLUMN (such as close=Last, time=Date): time
    or close_time, open, high, low, close, and volume or quote_volume, which counts money."""
    quarantine: str = Field(default="on", pattern="^(on|off)$")
    """What to do with prints that no trade can explain: ``on`` takes them out and lists them, ``off`` keeps them. What
    else looks odd is listed and kept in any case."""
    relist: tuple[str, ...] = ()
    """Coins that came back under their old ticker, each SYMBOL:RATIO (such as COIN/USDT:1000): one new unit stands for
    RATIO old ones, and prices before the halt are multiplied by it. Without it the coin ends at the halt and SYMBOL#2
    begins."""
    risk_free: str = "0"
    """Annual rate that idle cash earns, actual/365: a number such as 0.03; a FILE in the data folder, such as
    rates/bills.csv, with the columns timestamp (of publication) and rate; or synthetic, a made-up series that ships."""
    bars: int = Field(default=30_000, ge=100, le=100_000_000)
    """Number of bars of a synthetic market."""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """Seed of a synthetic market."""

    @field_validator("data", mode="after")
    @classmethod
    def _without_password(cls, data: str) -> str:
        """What is asked for is written down: the password of a database goes where libpq looks for it."""
        return unlocked(data) if is_address(data, *POSTGRES) else data

    @field_validator("universe", mode="after")
    @classmethod
    def _readable(cls, text: str | None) -> str | None:
        if text is not None:
            universe_rule(text)
        return text

    @field_validator("risk_free", mode="before")
    @classmethod
    def _as_text(cls, value: object) -> object:
        return str(value) if isinstance(value, int | float) else value
