"""One program each, rebuilt from a public bug report: `run(fixed, watch, seed)`; TRUTH, what a fair judge accepts."""
