"""Windows onto a live session: metrics, health, logs and curves. They read, and can change nothing."""
