"""Values that everything else speaks of: pure data, no I/O, times as seconds since the epoch (UTC)."""
