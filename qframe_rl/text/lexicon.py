"""Words of crypto headlines with what they say of prices.

Chosen and weighed by hand for this house, in the view of headlines of November 2021 to December 2022: how often words
stood in those that rise or fall by the source's own score, and 120 that were labelled. No other lexicon went into it.
Headlines of 2023 are what it is judged by. They had not been read when the words were first chosen; weights were
changed once more afterwards, by the earlier months alone.
"""

from __future__ import annotations

_WORDS = {
    3.0: "skyrocket moon soar bullish rocket",
    2.5: """
        surge rally breakout outperform uptrend jump rebound upswing upside euphoria optimistic boom climb thrive
        parabolic
    """,
    2.0: """
        gain rise risen rose recover recovery recovered inflow accumulate accumulation strong strength strengthen
        stronger growth grow grew grown positive boost resilient resilience surpass approve approval approved profit
        profitable adopt adoption success successful optimism confident confidence win won buy-the-dip upgrade
        milestone breakthrough bottomed uptick undervalued attractive higher greed soared outpace demand improve
        improvement impressive celebrate
    """,
    1.5: """
        bull bounce up increase increases increased embrace advance advantage benefit opportunity hope hopeful record
        partnership integrate integration expand expansion eyeing reclaim regain favourable favorable promising
        progress prosper attract best better great safe haven hodl dovish reward innovation secure good donate endorse
        dominate double triple relief upward highs above highest
    """,
    1.0: """
        buy bought purchase high stable steady raise raised accept accepts accepting allow allows enable help helped
        invest invests invested welcome legal-tender freedom consolidate consolidating cheap long-awaited enthusiastic
        enthusiasm funding clarity efficient potential sustainable renewable partner onboard recovers bid bulls signed
        consolidation expanded expanding doubled nearing
    """,
    0.5: "support supported launch launches launched aim drive return forecast pace build added",
    -0.5: "tax inflation took hint",
    -1.0: """
        low under resistance pause cautious caution wary uncertain uncertainty volatile risk risky doubt skeptic
        skeptical sceptical critic criticism criticise criticize scrutiny debate delay delayed limit slow slowdown
        sideways choppy stagnant stuck pressure hawkish discount nervous wonder complain question challenge
        challenging difficult restrict restriction regulator anxious leave hurdle unregistered smallest clash decouple
        ditch stagnate fragile cap capped sanction freeze frozen weigh face impossible caused lender
    """,
    -1.5: """
        below concern concerned dip lower fear correction correct weak weakness weaken selling sell sold fail failed
        fails failure unable lawsuit sue sued probe investigate investigation charge charged fine fined penalty lose
        lost losing warning danger dangerous threat threaten trouble troubled problem negative hard-times reject
        rejected ban banned banning pullback retreat slip slide downside halt halted suspend suspended illegal
        criminal crime guilty recession crackdown outage worry worried overvalued overbought turmoil woe harm harmed
        wrong unprofitable layoff dissolve withdraw conflict war worse death dead underperform squeeze impair
        impairment decrease drain lack withdrawal withdrawals forced
    """,
    -2.0: """
        down struggle struggling warn warned fall fell fallen falling drop dropped decline declined declining outflow
        loss losses tumble tumbled sink sank downtrend downturn liquidation liquidate liquidated hacker hacked hack
        exploit exploited attack attacked theft stolen steal scam fraud fraudulent ponzi depeg hackers malware delist
        dump dumped sell-off selloff sell-offs capitulate capitulation insolvent insolvency default pain painful
        suffer suffering crisis contagion breach arrest arrested lowest worst bleed bleeding shortfall jail prison
        scheme laundering pyramid ransomware downward headwind dismal gloom misery victim bear
    """,
    -2.5: """
        plunge plummet plummeted dive nosedive tank slump bearish bankrupt bankruptcy collapse collapsed panic rug
    """,
    -3.0: "crash crashed bloodbath rug-pull meltdown rekt carnage wipeout doom catastrophe catastrophic",
}
_PHRASES = {
    3.0: "to the moon; all time high; record high; new high; bull run; bull market",
    2.0: """
        highest level; highest levels; gaining momentum; buying opportunity; buying opportunities; back above;
        bought the dip; buy the dip; above the resistance; clear the resistance; short squeeze; fresh increase;
        upside break; closed above; flip to support; largest inflow; to new highs; in the green; rate cut;
        short liquidations; golden cross; ahead of schedule; record inflows; way for
    """,
    1.0: "going ahead; stepping up; risk on; ramp up; rate cuts; fed pivot; cleared of",
    0.5: "legal tender",
    0.0: """
        bear trap; lower house; upper house; raised rates; interest rate; stop loss; bears in mind; bear in mind;
        high court; high school; hold accountable; set up; up to; sign up; follow up; start up; made up; make up;
        makes up; lower fees; low fees; open interest; short term; long term; under the; bond market; followed by;
        under way; hash rate; fall under; higher education; best selling; hard drive; high profile; gold standard;
        buy and sell; buying and selling; buy or sell; profit and loss; war room; support for; lock up; up for
    """,
    -1.0: """
        rate hike; rate hikes; risk off; high inflation; higher inflation; not enough; short of; mining ban;
        raise taxes
    """,
    -1.5: "bear market",
    -2.0: """
        all time low; new low; record low; lowest level; lowest levels; two year low; failed to clear;
        failed to stay above; back below; back under; back down; dip below; broke below; breaks below; moved below;
        trading below support; in the red; long liquidations; further downside; more downside; short sellers;
        extend losses; strong dollar; raise rates; raises rates; raising rates; slow down; more pain;
        selling pressure; loses momentum; losing momentum; bull trap; dead cat; death cross; largest outflow;
        largest outflows; further losses; no support; lose money; lost money; hard times; correcting gains;
        correcting their gains; in trouble; out of business; sold off; weigh on; end to; lack of
    """,
    -3.0: "rug pull; bank run; collapse of; goes to zero; go to zero; crypto winter",
}

_NEGATIONS = """
    not no never none nobody nothing neither nor cannot without hardly barely scarcely unlikely isn't aren't wasn't
    weren't don't doesn't didn't won't wouldn't can't couldn't shouldn't hasn't haven't hadn't avoid avoids avoided
    deny denies denied prevent prevents ends ended stop stopped recoup offset ease eases eased fade fades
"""
NEGATIONS = frozenset(_NEGATIONS.split())
"""Words that turn round what follows them within three words."""
CONCESSIONS = frozenset({"despite", "although", "though", "notwithstanding"})
"""What they introduce counts little, up to the next comma."""
TURNS = frozenset({"but", "however", "yet"})
"""What stands before them counts half, what stands behind them half as much again."""
_DEGREES = {
    1.5: "very extremely sharply heavily massively hugely strongly dramatically significantly steeply",
    1.3: "massive huge sharp steep heavy major severe dramatic significant serious big largest record",
    0.7: "may might could would possibly perhaps potentially if",
    0.5: "slightly somewhat partly marginally little small minor modest slight mild",
}
INTENSIFIERS = {word: factor for factor, text in _DEGREES.items() for word in text.split()}
"""Factors of the next word within two words."""


def words() -> dict[str, float]:
    """Weights of single words, positive where prices would rise."""
    return {word: weight for weight, text in _WORDS.items() for word in text.split()}


def phrases() -> dict[tuple[str, ...], float]:
    """Weights of several words in a row, which count instead of the words in them."""
    return {
        tuple(phrase.split()): weight
        for weight, text in _PHRASES.items()
        for phrase in (part.strip() for part in text.replace("\n", " ").split(";"))
        if phrase
    }
