"""Texts: what their words say of prices, without a network and without a model."""
