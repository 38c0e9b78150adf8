"""Episodes on recorded order books."""
