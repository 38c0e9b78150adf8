"""Strategies judged through time, taken apart, and put side by side."""
