"""The stylised facts of the crowd, as rows of a table and as a picture: ``python -m docs.generate.facts [FILE]``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from qframe_rl.arena.crowd import CrowdConfig
from qframe_rl.arena.facts import LAGS, StylisedFacts, facts
from qframe_rl.evaluate.painted import write_png
from qframe_rl.evaluate.plot import INK, PALETTE, panels

CROWDS = {
    "noise and quoters": {"informed": 0, "trend": 0},
    "and Hawkes arrivals": {"informed": 0, "trend": 0, "hawkes": 8},
    "the default": {},
}
N_MARKETS, N_STEPS = 64, 2_000


def measured() -> dict[str, StylisedFacts]:
    """By the crowd's name."""
    plain = {"makers": 1, "takers": 0, "executions": 0, "episode_steps": N_STEPS}
    return {name: facts(CrowdConfig(**plain, **own), N_MARKETS) for name, own in CROWDS.items()}


def rows(found: dict[str, StylisedFacts]) -> str:
    """The table's, a line for each crowd."""
    lines = []
    for name, one in found.items():
        numbers = (*one.bounce, one.signs[0], one.signs[9], *one.kurtosis, one.exponent)
        lines.append(f"| {name} | {' | '.join(f'{x:.2f}' for x in numbers)} |")
    return "\n".join(lines)


def draw(found: dict[str, StylisedFacts], path: Path) -> None:
    """Signs by lag, and impact by size."""
    figure, (signs, impact) = panels(2, "What the crowd's trades look like", 4.6, 3.4, least=6.0, more=1.0)
    for k, (name, one) in enumerate(found.items()):
        signs.plot(np.arange(1, LAGS + 1), one.signs, color=PALETTE[k], linewidth=1.6, label=name)
        impact.plot(one.sizes, one.impact, "o-", color=PALETTE[k], linewidth=1.6, markersize=3)
    signs.axhline(0.0, color=INK, linewidth=0.6)
    signs.set_title("Autocorrelation of trades' signs", loc="left", fontsize=10, color=INK)
    signs.set_xlabel("lag, trades", fontsize=9, color=INK)
    impact.set_title("Move of the mid price within two seconds, ticks", loc="left", fontsize=10, color=INK)
    impact.set_xlabel("lots of the trade", fontsize=9, color=INK)
    signs.legend(frameon=False, fontsize=8)
    write_png(figure, path)


if __name__ == "__main__":
    made = measured()
    print(rows(made))
    if len(sys.argv) > 1:
        draw(made, Path(sys.argv[1]))
