"""The service: what people and programs see of sessions, runs and checkpoints, and by which they command them."""
