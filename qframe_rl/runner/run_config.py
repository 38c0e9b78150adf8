"""What a run of any kind stands on, as configuration: training, a study and a search add what they do."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import Field, model_validator

from qframe_rl.config import Base, Ref, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.risk.limits import Limits


class RunConfig(Base):
    """Bars, market, limits, randomness and intervals of a run."""

    data: DataConfig = DataConfig()
    """The bars."""
    env: Ref = Ref(name="auto")
    """Market of the catalogue with its parameters; auto = perp for perpetuals, spot for coins."""
    risk: Limits = Limits()
    """Limits of the risk engine in every training, backtest and replay, each of which begins ACTIVE; a checkpoint keeps
    them."""
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    """Root of all randomness."""
    level: float = Field(default=0.9, gt=0.0, lt=1.0)
    """Share of the bootstrap resamples inside the intervals."""
    resamples: int = Field(default=1000, ge=100, le=1_000_000)
    """Number of bootstrap resamples."""

    @model_validator(mode="before")
    @classmethod
    def _named(cls, values: object) -> object:
        """Parameters of a market or a split without its name are meant for the default one."""
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for key, field in cls.model_fields.items():
            given = filled.get(key)
            if isinstance(field.default, Ref) and isinstance(given, Mapping) and "name" not in given:
                filled[key] = {"name": field.default.name, **given}
        return filled

    @model_validator(mode="after")
    def _detailed(self) -> RunConfig:
        """The bars come with the finer ones that the market looks at, whichever of the two was told of them."""
        detail, loaded = self.env.params.get("detail"), self.data.detail
        if detail == loaded:
            return self
        if detail is not None and loaded is not None:
            raise ValueError(f"env.detail is {detail}, but data.detail {loaded}; leave one of them out")
        env = self.env.model_copy(update={"params": {**self.env.params, "detail": detail or loaded}})
        data = build(DataConfig, {**self.data.model_dump(), "detail": detail or loaded}, "env")
        object.__setattr__(self, "env", env)
        object.__setattr__(self, "data", data)
        return self
