"""Formulas over panels of bars: their language, their values and their scores."""
