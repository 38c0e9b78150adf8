"""A second market: the rules of docs/decisions/0002-market-rules.md in plain decimal arithmetic, one account at a time.

Written from that page and from the records in `qframe_rl.types`, not from the kernel. `records` and `grids` are its
words, `orders` its steps 3 to 5, `bar` the others; `draws` makes random markets, `doors` drives the kernel and the
oracle alike, `compare` says where they differ, `coverage` what was tried.
"""
