"""Tests run in two processes (see pyproject.toml): a thread for each, or they would wait for one another."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
