"""Cases of the second lot, written before any result of theirs was known: `real` and `sound`."""
