"""What a human must hear of: rules, an outbox that no crash empties, and the way to any messenger."""
