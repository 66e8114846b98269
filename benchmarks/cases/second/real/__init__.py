"""Programs rebuilt from public bug reports; TRUTH, what a fair judge accepts, was written before any run."""
