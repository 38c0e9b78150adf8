"""Portfolios of sessions, as pure rules: a ledger that is exact, limits over all members, who gets how much."""
