"""Exact optima of markets that have one: what agents are checked against. One file for each market's mathematics."""

from qframe_rl.theory.ar1 import Flip, ar1_flip

__all__ = ["Flip", "ar1_flip"]
