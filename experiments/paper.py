"""Paper-trade a checkpoint: ``python -m experiments.paper --help``."""

from __future__ import annotations

import argparse
import contextlib
import math
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from experiments.cli import Parser, checkpoint_place, console, door, shipped, within
from experiments.own import own_options
from experiments.paper_result import said_of
from experiments.refitting import add_refit, asked_recipe, check_refit, refitted
from experiments.screen import downloads
from experiments.settings import data_settings, given_under
from experiments.shadowing import Shadowing, check_journal, names_of
from experiments.watched import SessionNotes, Steady, stopped_by, watch_config
from qframe_rl.alerts.config import AlertConfig
from qframe_rl.config import UserError, build
from qframe_rl.feeds.data import DataConfig
from qframe_rl.live.signals import hear_early
from qframe_rl.risk.limits import Limits

if TYPE_CHECKING:
    from qframe_rl.checkpoint import Checkpoint
    from qframe_rl.live.expiry import ModelAges
    from qframe_rl.live.open import Opened
    from qframe_rl.live.watching import Windows
    from qframe_rl.refit import Recipe

OPTIONS = {"since": None, "until": None, "seed": "data-seed"}
HOLD_MS = 1000.0


def parser() -> Parser:
    """The options of this door."""
    made = Parser(
        "paper",
        "Let a checkpoint trade on paper: the session, the kernel and the interface of its training, on bars that\n"
        "arrive as time passes. Every bar, decision and fill is in the journal before the next thing happens: after\n"
        "a crash the same command goes on where the journal ends. Ctrl-C stops it after the bar under way.",
        [
            "checkpoints/1a2b3c4d5e6f7081 --feed replay --speed max",
            "checkpoints/1a2b3c4d5e6f7081 --feed ccxt --exchange binance --symbols BTC/USDT --daily-loss 0.05",
        ],
        "alerts go to the Apprise URLs in the environment variable APPRISE_URLS, separated by spaces\n"
        "with --orders testnet or real these limits hold unless others are given: --filters true --stale-s 60\n"
        "--max-skew-s 5 --max-rejects 20 --collar 0.1, and --max-order 10000 dollars (1 BTC, 10 ETH, 100 BNB)\n",
        first="--feed --exchange --symbols --orders --speed --daily-loss --max-drawdown --shadow --metrics --out",
    )
    made.add_argument(
        "checkpoint", type=checkpoint_place, metavar="CHECKPOINT",
        help=f"folder of a checkpoint, or one that ships: {', '.join(shipped())}",
    )  # fmt: skip
    _add_session(made)
    add_refit(made)
    _add_others(made)
    _add_live(made)
    _add_watching(made)
    made.add_fields("data, each instead of the checkpoint's", DataConfig, "data", OPTIONS, defaults=False)
    made.add_fields("limits of the risk engine, each instead of the checkpoint's", Limits, "limits", {}, defaults=False)
    made.add_fields("alerts", AlertConfig, "alerts", {name: f"alert_{name}" for name in AlertConfig.model_fields})
    made.add_own()
    return made


def _add_session(made: Parser) -> None:
    """Options of the bars, and of the journal."""
    made.add_argument(
        "--feed",
        choices=("replay", "ccxt", "ticks", "journal"),
        default="replay",
        help="replay recorded bars or order books, follow an exchange's candles as they close, the order book and\n"
        "the trades of one market as they come, for a strategy that quotes, or the bars that another session records\n"
        "(default: replay)",
    )
    made.add_argument(
        "--speed",
        default="max",
        metavar="SPEED",
        help="of a replay: max, or times the clock such as 60x (default: max); with --feed ccxt that of a test\n"
        "exchange's clock (default: 1x)",
    )
    made.add_argument(
        "--hold-ms", type=within(float, 0.0, 60_000.0), default=HOLD_MS, metavar="MS",
        help="of order books: how late rows may come and still be settled at their own time; decisions are made for\n"
        "moments that lie so far back (default: 1000)",
    )  # fmt: skip
    made.add_argument("--from", dest="since", metavar="TIME", help="start of a replay, ISO 8601 UTC")
    made.add_argument("--to", dest="until", metavar="TIME", help="end of a replay, ISO 8601 UTC")
    made.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder of the journal (default: runs/paper/CHECKPOINT-HASH, one for each feed)",
    )
    made.add_argument(
        "--expires", metavar="WHEN",
        help="when the model is too old to open positions: a time, ISO 8601 UTC, or a length such as 30d after the\n"
        "last bar that it was trained on; from then on the session only reduces (default: never)",
    )  # fmt: skip
    made.add_argument(
        "--snapshot-bars",
        type=int,
        default=100,
        metavar="N",
        help="bars between snapshots; a restart runs the bars since the last one again (default: 100)",
    )
    made.add_execute()


def _add_others(made: Parser) -> None:
    """Options of other sessions: one that is followed, and those that follow."""
    made.add_argument(
        "--journal", type=Path, metavar="FOLDER", help="of --feed journal: the session whose bars are traded, too"
    )
    made.add_argument(
        "--begin", choices=("now", "start"), default="now",
        help="of --feed journal: decide from that session's last bar on, or from where it began itself (default: now)",
    )  # fmt: skip
    made.add_argument(
        "--shadow", type=checkpoint_place, action="append", default=[], metavar="CHECKPOINT",
        help="let another checkpoint trade the same bars beside the session, in a process and an account of its own,\n"
        "and test after every bar which of the two earns more; again for each, up to 8 (default: none)",
    )  # fmt: skip


def _add_live(made: Parser) -> None:
    """Options of a session on an exchange."""
    made.add_argument(
        "--fills",
        choices=("bar", "book"),
        default="bar",
        help="with --feed ccxt: by the backtest's rule on the next bar, or by walking the live order book when the\n"
        "decision is made; both prices are recorded (default: bar)",
    )
    made.add_argument(
        "--latency-ms", type=within(float, 0.0, 1e6), default=100.0, metavar="MS",
        help="time before the book is looked at (default: 100)",
    )  # fmt: skip
    made.add_argument(
        "--orders",
        choices=("paper", "testnet", "real"),
        default="paper",
        help="with --feed ccxt: paper sends none; testnet sends them to the exchange's test environment; real to\n"
        "the exchange itself, and wants the next two options and --daily-loss. Keys are read from the environment,\n"
        "such as BINANCE_API_KEY and BINANCE_SECRET (default: paper)",
    )
    made.add_argument(
        "--account", type=_account, metavar="NAME",
        help="account that the session trades, by a name of yours; its keys are QFRAME_ACCOUNT_NAME_API_KEY,\n"
        "..._SECRET and, where needed, ..._PASSWORD. No two sessions whose orders go out share a symbol of an\n"
        "account (default: the exchange's own keys)",
    )  # fmt: skip
    made.add_argument("--i-accept-real-money-risk", action="store_true", help="for --orders real (default: off)")
    made.add_argument(
        "--paper-record",
        type=Path,
        metavar="JOURNAL",
        help="for --orders real: 30 days on paper, same checkpoint, or with --refit the same recipe",
    )
    made.add_argument("--url", metavar="URL", help="send every request of --feed ccxt there, such as a test exchange")


def _add_watching(made: Parser) -> None:
    """Options of who looks on."""
    made.add_argument(
        "--metrics",
        type=int,
        metavar="PORT",
        help="serve /metrics (Prometheus) and /healthz on 127.0.0.1 (default: no)",
    )
    made.add_argument(
        "--log", type=Path, metavar="FILE", help="append a line of JSON for each bar, decision and note (default: no)"
    )
    made.add_argument(
        "--log-mb", type=float, default=10.0, metavar="MB",
        help="size from which on the log goes on in a new file, the full one being FILE.1 (default: 10)",
    )  # fmt: skip
    made.add_argument(
        "--log-keep", type=int, default=5, metavar="N", help="full files of the log that are kept (default: 5)"
    )
    made.add_argument(
        "--tensorboard", type=Path, metavar="FOLDER", help="write curves of the session there (default: no)"
    )
    made.add_argument(
        "--heartbeat", metavar="URL",
        help="ask for this address once a minute while decisions are on time; who expects that (healthchecks.io)\n"
        "notices when the machine is gone (default: no)",
    )  # fmt: skip


def _account(text: str) -> str:
    """Type of the option that names an account."""
    from qframe_rl.live.accounts import account_name

    try:
        return account_name(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def speed_of(text: str) -> float:
    """``max`` or a number of times the clock.

    Raises
    ------
    UserError
        For anything else.
    """
    if text == "max":
        return math.inf
    number = text.removesuffix("x")
    try:
        speed = float(number)
    except ValueError:
        speed = math.nan
    if not 0.0 < speed < math.inf:
        raise UserError(f"--speed {text!r} is neither max nor a number of times the clock, such as 60x.")
    return speed


def main(argv: Sequence[str] | None = None) -> dict[str, Any] | None:
    """Trade on paper."""
    hear_early()
    given = vars(parser().parse_args(argv))
    # A terminal that is gone, or a full disk behind it, is no reason to stop trading.
    with contextlib.redirect_stderr(cast(TextIO, Steady(sys.stderr))):
        return _traded(given)


def _traded(given: dict[str, Any]) -> dict[str, Any] | None:
    """Run the session that the options ask for."""
    check_journal(given)
    check_refit(given)
    speed, given_data = speed_of(given["speed"]), data_settings(given, live=given["feed"] != "replay")
    _check_options(given, given_data)
    alerts = build(AlertConfig, given_under(given, "alerts"), "options")
    limits = build(Limits, given_under(given, "limits"), "options")
    from qframe_rl.checkpoint import load_checkpoint
    from qframe_rl.deploy import limits_for
    from qframe_rl.live.expiry import ModelAges
    from qframe_rl.live.paper import paper
    from qframe_rl.live.status import Line
    from qframe_rl.live.watching import Windows

    _check_orders(given, limits)
    out, note = console(to_stderr=True), SessionNotes()
    checkpoint = load_checkpoint(given["checkpoint"])
    recipe = asked_recipe(given, checkpoint, note)
    if checkpoint.of_book:
        from experiments.paper_books import quoted

        return quoted(given, given_data, checkpoint, limits, alerts, speed, note)
    _check_bars(given)
    shadows = names_of(given["shadow"])
    ages = ModelAges(given["expires"], checkpoint, note)
    if checkpoint.warning is not None:
        out.print(f"Warning: {checkpoint.warning}", style="yellow", highlight=False)
    opened = _opened(given, checkpoint, given_data, speed, note, recipe)
    limits, venue = limits_for(checkpoint, given_under(given, "limits"), opened.terms.bar_ns), None
    watching = watch_config(given, alerts, speed)
    with ExitStack() as stack:
        if given["orders"] != "paper":
            limits, venue = _real(opened, given, limits, note, speed, stack)
        stop = stopped_by(opened.feed.stopped)
        windows = Windows(opened, watching, stack, note)
        note.also = lambda text: windows.say(text)
        if recipe is not None:
            opened = refitted(opened, given, checkpoint, given_data, note, stack, ages.taken)
        shadowing = Shadowing(opened.folder, shadows, note, own_options(given))
        if shadows:
            shadowing.start(opened)

        line = stack.enter_context(out.status("waiting for the first bar"))
        result = paper(
            opened.market, opened.agent, opened.feed, opened.terms, opened.folder,
            limits=limits, listeners=[Line(line.update)], process={"checkpoint": str(given["checkpoint"].absolute())},
            quotes=opened.quotes, venue=venue, durable=given["feed"] == "ccxt", hidden=watching.hidden,
            begun=_begun(windows, ages, shadowing), snapshot_bars=given["snapshot_bars"], note=note,
        )  # fmt: skip
        if shadows:
            line.update("the shadows take the last bars; Ctrl-C ends them at once")
            came = len(stop)
            shadowing.close(lambda: len(stop) > came, tuple(watching.hidden.values()))
    return said_of(result, out, stop, shadowing.standing, as_json=given["json"])


def _begun(windows: Windows, ages: ModelAges, shadowing: Shadowing) -> Callable[[Any, Any, Any], None]:
    """What is to be done once a session has its record: open windows, count the model's age, tell of shadows."""

    def begun(router: Any, ledger: Any, operator: Any) -> None:
        windows.open(router, ledger)
        ages.begin(operator)
        router.shadows = lambda: shadowing.standing
        shadowing.begin()

    return begun


def _check_options(given: dict[str, Any], given_data: dict[str, Any]) -> None:
    """Refuse options that do not go together."""
    if given["snapshot_bars"] < 1:
        raise UserError(f"--snapshot-bars {given['snapshot_bars']}: at least one bar lies between two snapshots.")
    if given["log_mb"] < 0.001 or given["log_keep"] < 0:
        raise UserError("--log-mb is at least 0.001, and --log-keep at least 0.")
    if given["feed"] == "journal" and given_data:
        raise UserError("--feed journal takes the bars of another session as they are: leave the options of data out.")
    if given["feed"] == "replay" and given["url"] is not None:
        raise UserError("--url is where a live feed asks: take --feed ccxt or ticks, or leave it out.")
    if given["feed"] != "replay" and (given["since"] is not None or given["until"] is not None):
        raise UserError("--from and --to are of a replay: a live feed begins now; leave them out.")


def _check_bars(given: dict[str, Any]) -> None:
    """Refuse options of strategies that quote."""
    if given["feed"] == "ticks":
        raise UserError(f"--feed ticks is for strategies that quote in order books; {given['checkpoint']} trades bars.")
    if given["hold_ms"] != HOLD_MS:
        raise UserError(f"--hold-ms is for strategies that quote in order books; {given['checkpoint']} trades bars.")
    if given["feed"] == "replay" and given["fills"] != "bar":
        raise UserError("--fills book walks the live order book of an exchange: add --feed ccxt, or leave it out.")


def _check_orders(given: dict[str, Any], limits: Limits) -> None:
    """Refuse orders that may not go out."""
    if given["orders"] != "paper" and given["feed"] not in ("ccxt", "ticks"):
        raise UserError("--orders needs the bars of an exchange: add --feed ccxt; or its order book, --feed ticks.")
    if given["orders"] != "paper" and given["account"] is not None:
        from qframe_rl.live.accounts import check_account

        check_account(given["account"], given["data.exchange"] or given["url"])
    if given["orders"] == "real":
        from qframe_rl.live.permit import check_real

        check_real(given["i_accept_real_money_risk"], limits, given["paper_record"])


def _opened(
    given: dict[str, Any], checkpoint: Checkpoint, given_data: dict[str, Any], speed: float, note: SessionNotes,
    recipe: Recipe | None,
) -> Opened:  # fmt: skip
    """Market, agent and feed of the session."""
    from qframe_rl.live.open import opened_followed, opened_live, opened_replay
    from qframe_rl.live.refits import stated

    refit = None if recipe is None else stated(recipe)
    if given["feed"] == "journal":
        from qframe_rl.journal.store import journal_of

        journal = journal_of(given["journal"])
        return opened_followed(given["checkpoint"], checkpoint, journal, given["begin"], given["out"], given["execute"])
    if given["feed"] == "ccxt":
        return opened_live(
            given["checkpoint"], checkpoint, given_data, given["out"], given["url"], note,
            orders=given["orders"], fills=given["fills"],
            latency_s=given["latency_ms"] / 1e3, speed=1.0 if speed == math.inf else speed, account=given["account"],
            execute=given["execute"],
            refit=refit,
        )  # fmt: skip
    with downloads() as report:
        return opened_replay(
            given["checkpoint"], checkpoint, given_data, given["since"], given["until"], given["out"], speed, report,
            given["account"], given["execute"], refit,
        )  # fmt: skip


def _real(
    opened: Opened, given: dict[str, Any], limits: Limits, note: SessionNotes, speed: float, stack: ExitStack
) -> tuple[Limits, Any]:
    """Limits and venue of a session whose orders go out; it is refused where a condition does not hold.

    Its symbols are its own until the stack is closed.

    Raises
    ------
    UserError
        For a condition, a key that is missing, or a symbol that another session trades on the same account.
    """
    from qframe_rl.feeds.ccxt import CcxtFeed
    from qframe_rl.live.accounts import claim
    from qframe_rl.live.permit import check_period, check_slots, exchange_venue, safe_limits

    check_slots(opened.market.interface, opened.terms)
    if given["orders"] == "real":
        check_period(given["paper_record"], opened.terms)
    assert isinstance(opened.feed, CcxtFeed)
    stack.callback(claim(opened.terms, opened.folder, given["url"]).close)
    venue = exchange_venue(opened.feed, opened.terms, given["url"], note)
    return safe_limits(limits, opened.terms.instruments, 1.0 if speed == math.inf else speed), venue


if __name__ == "__main__":
    sys.exit(door(main))
