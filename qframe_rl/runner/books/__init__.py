"""Training, choosing and judging on recorded order books."""
