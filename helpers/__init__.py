"""What the notebooks share. Each module says in its first line what belongs in it."""
