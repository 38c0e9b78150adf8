"""Recorded steps: Minari datasets written from walks, and read for learners that may see no more than they should."""
