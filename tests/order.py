"""How the files of the whole suite are shared among processes, and in which order they begin.

Files that train on Ray are one piece, so that it begins once. What takes longest begins first: else a long file is left
over at the end, and the other processes wait for it.
"""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling

from tests.rays import TOGETHER

LONGEST = (
    *TOGETHER,
    "tests/runner/test_book_ledger.py", "tests/risk/test_parity.py", "tests/runner/test_books.py",
    "tests/runner/test_executors.py", "tests/test_custom.py", "tests/experiments/test_limits.py",
    "tests/offline/test_collect.py", "tests/experiments/test_shadows.py", "tests/oracle/test_oracle.py",
    "tests/experiments/test_resume.py", "tests/experiments/test_live_paper.py", "tests/experiments/test_doors.py",
    "tests/runner/test_tune.py", "tests/experiments/test_execute.py", "tests/live/test_exchange_book.py",
    "tests/service/test_stream.py", "tests/service/test_auth.py", "tests/contracts/test_problems.py",
    "tests/service/test_reports.py", "tests/agents/test_sb3.py", "tests/agents/test_ensemble.py",
    "tests/cockpit/test_looks.py", "tests/cockpit/test_faults.py", "tests/experiments/test_checkpoint_data.py",
    "tests/experiments/test_exchange_slots.py", "tests/service/test_portfolios.py", "tests/properties/test_money.py",
    "tests/experiments/test_exchange_orders.py", "tests/experiments/test_second_protocol.py",
    "tests/service/test_researching.py", "tests/soak/test_switch.py", "tests/runner/test_study.py",
    "tests/runner/test_book_tune.py", "tests/relay/test_relay.py", "tests/live/test_refits.py",
    "tests/service/test_supervise.py", "tests/evaluate/test_sequential.py", "tests/fuzz/test_fuzz.py",
    "tests/runner/test_arena.py", "tests/learning/test_offline.py", "tests/experiments/test_rehearsed_paper.py",
    "tests/cockpit/test_portfolio.py", "tests/runner/test_real_data.py",
)  # fmt: skip
"""The longest ones, by a run of the whole suite."""


def rank(name: str) -> int:
    """Where a test stands, by its id: the longest files first, the others as they were."""
    file = name.partition("::")[0]
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


class ByFile(LoadFileScheduling):
    """Files in the order in which they are collected, those on Ray as one."""

    def schedule(self) -> None:
        """Share them out."""
        self.config.option.loadscopereorder = False
        super().schedule()

    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return TOGETHER[0] if file in TOGETHER else file
