"""The table of exchanges: what it says of those that orders may go to, and who is refused."""

from __future__ import annotations

from pathlib import Path

import ccxt
import pytest

from qframe_rl import exchanges
from qframe_rl.config import UserError
from qframe_rl.exchanges import check_orders, conventions, owner_of, table
from qframe_rl.feeds.client import client
from qframe_rl.feeds.listing import listing
from qframe_rl.venues.order_sender import NAME_LENGTH


@pytest.mark.parametrize("exchange", ["binance", "binanceusdm", "bybit"])
def test_real_orders_may_go_where_the_proof_was_rehearsed(exchange: str) -> None:
    check_orders(exchange, NAME_LENGTH, real=True)


@pytest.mark.parametrize(
    ("exchange", "real", "says"),
    [
        ("kraken", False, "kraken: no rule is known after which a request that was lost can no longer arrive"),
        ("okx", True, "trade on paper, or on binance"),
        ("bybitid", True, "bybitid: its wire was never rehearsed"),
    ],
)
def test_orders_are_refused_where_the_proof_does_not_hold(exchange: str, real: bool, says: str) -> None:
    with pytest.raises(UserError, match=says):
        check_orders(exchange, NAME_LENGTH, real=real)


def test_orders_to_a_test_environment_need_the_rule_but_no_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    never = {**table(), "bybit": table()["bybit"].model_copy(update={"rehearsed": False})}
    monkeypatch.setattr("qframe_rl.exchanges.table", lambda: never)
    check_orders("bybit", NAME_LENGTH, real=False)
    with pytest.raises(UserError, match="its wire was never rehearsed"):
        check_orders("bybit", NAME_LENGTH, real=True)


def test_an_id_that_is_too_long_for_an_exchange_is_refused() -> None:
    with pytest.raises(UserError, match="cannot be looked up by an id of 40 characters"):
        check_orders("binance", 40, real=False)


def test_the_classes_and_requests_that_it_names_are_in_ccxt() -> None:
    for name, row in table().items():
        if name in ccxt.exchanges and row.contracts is not None:
            assert row.contracts in ccxt.exchanges
            assert row.dead_man is None or hasattr(getattr(ccxt, row.contracts), row.dead_man)


@pytest.mark.parametrize("name", [name for name, row in table().items() if row.window_option is not None])
def test_the_option_that_bounds_a_requests_age_is_one_that_ccxt_reads(name: str) -> None:
    for one in {name, table()[name].contracts or name}:
        assert table()[name].window_option in getattr(ccxt, one)().options


def test_one_that_is_like_another_may_differ_in_a_field(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = '[a]\nlinear = "quote"\nsides = 2\nname_length = 36\n[b]\nlike = "a"\nname_length = 20\n'
    (tmp_path / "exchanges.toml").write_text(rows)
    monkeypatch.setattr(exchanges, "_TABLE", tmp_path / "exchanges.toml")
    found = table.__wrapped__()
    assert (found["b"].linear, found["b"].sides, found["b"].name_length) == ("quote", 2, 20)
    assert found["a"].name_length == 36


def test_contracts_are_served_by_the_class_that_the_table_names() -> None:
    assert owner_of("binanceusdm") == "binance"
    assert owner_of("binance") is owner_of("bybit") is None
    assert listing("binance", "BTC/USDT:USDT").client == "binanceusdm"
    assert listing("bybit", "BTC/USDT:USDT").client == "bybit"


def test_an_exchange_whose_addresses_are_not_known_takes_no_url() -> None:
    with pytest.raises(
        UserError,
        match="--url works for binance, binanceusdm, bybit, bybitid, whose addresses are known, not for kraken",
    ):
        client("kraken", url="http://127.0.0.1:1")
    assert conventions("kraken").routes == {}
