"""What humans tell a portfolio: tighter at once, and free again by one word alone."""

from __future__ import annotations

from qframe_rl.portfolio.warden import WORDS, resumed, tightened
from qframe_rl.service.booking import equity_of, keep_vigil, vigil_in
from qframe_rl.service.notices import noted
from qframe_rl.service.portfolios import Portfolios

STATE_OF = {word: state for state, word in WORDS.items()}


def steered(portfolios: Portfolios, portfolio: str, word: str, who: str) -> str:
    """Let a portfolio be as tight as a word asks for, or free; its state then.

    Parameters
    ----------
    portfolios, portfolio
        The rows, and which of them.
    word
        halt, flatten, reduce or resume.
    who
        Asks.
    """
    with portfolios.store.writing() as database:
        vigil = vigil_in(database, portfolio)
        if word == "resume":
            vigil = resumed(vigil, equity_of(database, portfolio))
        else:
            vigil = tightened(vigil, STATE_OF[word], f"{word} by {who}")
        keep_vigil(database, portfolio, vigil)
        noted(database, portfolio, "state", f"{vigil.state}, told {word} by {who}")
    return vigil.state
