"""Peers at work on order books, in an environment of their own: it knows nothing of this library.

``python peer_book.py NAME DATA.npz 1`` prints a JSON line with the peer's version when it is ready, and after each line
on stdin does its work once and prints how many units that was. ``hftbacktest`` walks a tape with a maker that quotes
the best prices; what that saw and held is written beside the data as ``hftbacktest.npz``. ``bourse`` takes messages one
by one, ``bourse-arrays`` all of a step at once.
"""

# mypy: ignore-errors
from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np

LIMIT, CANCEL = 0, 5


def rows(told):
    """Hftbacktest's table: rows by the exchange's clock for its exchange, rows by arrival for its strategy."""
    from hftbacktest import (
        BUY_EVENT,
        DEPTH_EVENT,
        DEPTH_SNAPSHOT_EVENT,
        EXCH_EVENT,
        LOCAL_EVENT,
        SELL_EVENT,
        TRADE_EVENT,
        event_dtype,
    )

    n = len(told["tick"])
    kind = np.choose(told["kind"], [DEPTH_SNAPSHOT_EVENT, DEPTH_EVENT, TRADE_EVENT]).astype(np.uint64)
    side = np.where(told["side"] == 0, BUY_EVENT, SELL_EVENT).astype(np.uint64)
    parts = []
    for order, flag in ((told["by_exchange"], EXCH_EVENT), (told["by_arrival"], LOCAL_EVENT)):
        made = np.zeros(n, event_dtype)
        made["ev"] = (kind | side | np.uint64(flag))[order]
        made["exch_ts"], made["local_ts"] = told["exchange_ns"][order], told["local_ns"][order]
        made["px"] = told["tick"][order] * float(told["tick_size"])
        made["qty"] = told["lots"][order] * float(told["lot_size"])
        parts.append(made)
    both = np.concatenate(parts)
    return both[np.argsort(np.concatenate([parts[0]["exch_ts"], parts[1]["local_ts"]]), kind="stable")]


def maker():
    """Hftbacktest's maker, compiled."""
    from hftbacktest import GTX, LIMIT
    from numba import njit

    @njit
    def walk(hbt, start, n, step, lot, tick, seen):
        """Quote the best prices with one lot a side; a quote beside them is cancelled, and renewed after."""
        number = 1
        if hbt.elapse(1) != 0 or hbt.elapse(start - hbt.current_timestamp) != 0:  # its clock begins with the first
            return 0
        for k in range(n):
            hbt.clear_inactive_orders(0)
            depth = hbt.depth(0)
            bid, ask = depth.best_bid_tick, depth.best_ask_tick
            seen[k, 0], seen[k, 1], seen[k, 2] = bid, ask, round(hbt.position(0) / lot)
            have_bid = have_ask = False
            values = hbt.orders(0).values()
            while values.has_next():
                order = values.get()
                if order.side == 1:
                    have_bid = True
                else:
                    have_ask = True
                if order.cancellable and order.price_tick != (bid if order.side == 1 else ask):
                    hbt.cancel(0, order.order_id, False)
            if not have_bid:
                hbt.submit_buy_order(0, number, bid * tick, lot, GTX, LIMIT, False)
                number += 1
            if not have_ask:
                hbt.submit_sell_order(0, number, ask * tick, lot, GTX, LIMIT, False)
                number += 1
            if hbt.elapse(step) != 0:
                return k + 1
        return n

    return walk


def hftbacktest(data):
    """Rows of a maker's walk."""
    from hftbacktest import BacktestAsset, HashMapMarketDepthBacktest

    told = dict(data)
    table, tick, lot, walk = rows(told), float(told["tick_size"]), float(told["lot_size"]), maker()

    def do():
        asset = (
            BacktestAsset()
            .data(table)
            .linear_asset(1.0)
            .constant_order_latency(int(told["entry_ns"]), int(told["answer_ns"]))
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(tick)
            .lot_size(lot)
            .last_trades_capacity(0)
        )
        power = float(told["power"])
        asset = asset.risk_adverse_queue_model() if power == 0.0 else asset.power_prob_queue_model(power)
        hbt = HashMapMarketDepthBacktest([asset])
        seen = np.zeros((int(told["n_steps"]), 3), np.int64)
        n = walk(hbt, int(told["start_ns"]), len(seen), int(told["step_ns"]), lot, tick, seen)
        hbt.close()
        np.savez(Path(sys.argv[2]).with_name("hftbacktest.npz"), seen=seen[:n])
        return len(told["tick"])

    do()
    return do


def bourse(data):
    """Messages, one call each."""
    import bourse as engine

    messages = data["messages"].tolist()

    def do():
        book, numbers = engine.core.OrderBook(0, True), {}
        for row, (kind, side, tick, lots, owner, order) in enumerate(messages):
            book.set_time(row)
            if kind == CANCEL:
                if order in numbers:
                    book.cancel_order(numbers[order])
            elif kind == LIMIT:
                numbers[order] = book.place_order(side == 0, lots, owner, price=tick)
            else:
                numbers[order] = book.place_order(side == 0, lots, owner)
        return len(messages)

    return do


def bourse_arrays(data):
    """Messages, a thousand a step: limit orders and cancels; its market orders have no array, so they are left out."""
    import bourse as engine

    messages = data["messages"]
    messages = messages[np.isin(messages[:, 0], (LIMIT, CANCEL))]
    parts = np.array_split(messages, max(len(messages) // 1000, 1))

    def do():
        env = engine.core.StepEnvNumpy(1, 0, 1, 1_000)
        first = 0
        for part in parts:
            new, gone = part[part[:, 0] == LIMIT], part[part[:, 0] == CANCEL]
            env.submit_limit_orders(
                (
                    new[:, 1] == 0,
                    new[:, 3].astype(np.uint32),
                    (new[:, 4] % 2**32).astype(np.uint32),
                    new[:, 2].astype(np.uint32),
                )
            )
            env.submit_cancellations((first + gone[:, 5] % max(len(new), 1)).astype(np.uint64))
            env.step()
            first += len(new)
        return len(messages)

    return do


PEERS = {"hftbacktest": hftbacktest, "bourse": bourse, "bourse-arrays": bourse_arrays}


def main():
    """Serve until stdin ends."""
    name, place, _ = sys.argv[1:]
    do = PEERS[name](np.load(place))
    print(json.dumps({"version": version(name.partition("-")[0])}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"units": do()}), flush=True)


if __name__ == "__main__":
    main()
