"""Learners on problems whose optimum is known."""
