"""Binance's wire protocol: requests in, replies and frames out, with the keys that the real ones have."""
