"""Commands and answers by a messenger: a process of its own that watches journals, and that no session waits for."""
