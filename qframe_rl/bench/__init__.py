"""What the benchmark measures: work on our side, the same work of peers, and the machine's own limits."""
