"""Bybit's protocol of the fifth version: spot and linear perpetuals of a unified account, over REST and websockets."""
