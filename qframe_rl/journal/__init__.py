"""The record of a live session: append-only, hash-chained, and enough to run the session again to the same bits."""
