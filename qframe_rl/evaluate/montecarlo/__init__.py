"""What else might have happened: resampled returns, rebuilt prices, shuffled trades, null models, and who decides."""
