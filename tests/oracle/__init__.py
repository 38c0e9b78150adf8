"""A second market: the rules of docs/decisions/0002-market-rules.md in plain decimal arithmetic, one account at a time.

Written from that page and from the records in `qframe_rl.types`, not from the kernel. `records` and `grids` are its
words, `orders` its steps 3 to 5, `bar` the others, `work` a bar in progress. `draws` makes random markets, `asking`
the orders in them, `doors` drives kernel and oracle alike, `walks` walks both, and `compare` says where they differ;
`coverage` counts what was tried, and `floors` says how often it must have been.

Doubles stand for the decimal numbers that they are written as, so what is compared in lots and ticks, or as it was
given, has one outcome. A comparison of sums can lie nearer to its edge than the rounding of doubles (1e-13 of the
largest term, 4e-15 of it for the lots of a scaled order). There the oracle says so, and a kernel that decided the other
way is accepted if the whole bar then agrees to the same 1e-9; how many bars may need that is bounded.
"""
