"""Gymnasium environments over the kernel."""
