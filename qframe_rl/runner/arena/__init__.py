"""Trainings among many agents: roles that learn in the same markets, and what a best reply would gain."""
