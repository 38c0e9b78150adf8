"""What a formula is and what it looks like: ``python -m experiments.features --help``."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from experiments.cli import Parser, console, door
from experiments.settings import data_settings
from qframe_rl.config import build, fingerprint
from qframe_rl.feeds.data import DataConfig

if TYPE_CHECKING:
    from qframe_rl.evaluate.formula import FormulaFacts


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "features",
        "Say what a formula is: in words, its lookback and its unit; draw its last year over the data, and say which\n"
        "known factor it resembles by mean rank correlation: momentum, reversal, volatility, size. The language is in\n"
        "docs/alphas.md; as a feature of a market its name is alpha:TEXT.",
        [
            "explain 'delta(close,5)/std(close,20)'",
            "explain 'rank(corr(close,volume,10))' --data synthetic:correlated,n_instruments=12",
            "explain 'tsz(volume,20)' --symbols BTC/USDT,ETH/USDT --timeframe 1d --picture volume.png",
        ],
    )
    made.add_argument("act", choices=("explain",), help="what to do")
    made.add_argument("text", metavar="TEXT", help="a formula, such as 'corr(close, volume, 10)'; quote it")
    made.add_argument(
        "--picture", type=Path, metavar="FILE.png",
        help="where to draw its last year (default: runs/features/ID.png, by the formula and the data)",
    )  # fmt: skip
    made.add_fields("data", DataConfig, "data", {"since": "from", "until": "to", "seed": "data-seed"})
    return made


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Explain."""
    given = vars(parser().parse_args(argv))
    from qframe_rl.alpha.parser import parse
    from qframe_rl.evaluate.formula import explain, formula_figure
    from qframe_rl.feeds.load import load

    text = given["text"].removeprefix("alpha:")
    parse(text)  # before bars are loaded
    facts = explain(text, load(build(DataConfig, data_settings(given), "options")))
    name = f"{fingerprint(facts.tree.text, facts.history.fingerprint)}.png"
    picture: Path = given["picture"] or Path("runs/features") / name
    picture.parent.mkdir(parents=True, exist_ok=True)
    formula_figure(facts).savefig(picture)
    said = _said(facts, picture)
    if not given["json"]:
        _tell(facts, said)
        return None
    return said


def _said(facts: FormulaFacts, picture: Path) -> dict[str, Any]:
    """Everything as plain data; what is not known is null."""
    tree, history = facts.tree, facts.history
    return {
        "text": tree.text,
        "feature": f"alpha:{tree.text}" if tree.unit == "number" else None,
        "words": tree.words,
        "unit": tree.unit,
        "lookback": tree.lookback,
        "tokens": tree.size,
        "columns": list(tree.columns),
        "compares_instruments": tree.crosses,
        "canonical": facts.canonical,
        "identity": facts.identity,
        "coverage": facts.coverage,
        "values": facts.quantiles(),
        "correlations": {k: None if math.isnan(v) else v for k, v in facts.correlations.items()},
        "correlated": "among instruments" if facts.among else "through time",
        "data": history.describe(),
        "picture": str(picture),
    }


def _tell(facts: FormulaFacts, said: dict[str, Any]) -> None:
    from qframe_rl.evaluate.formula import FACTORS, span

    out, tree, history = console(to_stderr=False), facts.tree, facts.history
    rows = [
        ("formula", tree.text),
        ("in words", tree.words),
        ("lookback", f"{tree.lookback:,} bars ({span(tree.lookback, history.bar_ns)} of these)"),
        ("unit", tree.unit if said["feature"] else f"{tree.unit}; a feature must be a number"),
        ("same as", facts.canonical if facts.canonical != tree.text else "no shorter form"),
        ("orders by", facts.identity),
        ("last year", f"{said['data']['first'][:16]} to {said['data']['last'][:16]}, {', '.join(history.symbols[:8])}"
         f"{' ...' if len(history.symbols) > 8 else ''} from {history.source.origin}"),
        ("has values", f"in {facts.coverage:.1%} of traded bars"),
        ("values", ", ".join(f"{name} {value:.4g}" for name, value in said["values"].items())
         or "none: it has no value anywhere in the last year"),
    ]  # fmt: skip
    for name, value in facts.correlations.items():
        known = "too few bars" if math.isnan(value) else f"{value:+.2f}"
        rows.append((name, f"{known}   rank correlation {said['correlated']} with {FACTORS[name]}"))
    for name, value in [*rows, ("picture", said["picture"])]:
        out.print(f"{name:11} {value}", highlight=False, soft_wrap=True, markup=False)
    if history.source.environment != "production":
        out.print(f"The data are {history.source.environment}.", style="yellow", highlight=False)


if __name__ == "__main__":
    sys.exit(door(main))
