"""Set what the tests' processes and all that they start inherit.

Tests run in two processes (see pyproject.toml): a thread for each, or they would wait for one another. Freed memory
is kept: glibc would give each large tensor's back, and Linux clear it for the next one page by page. Where a notebook
asks for more threads they sleep while they wait, as the cores are busy.
"""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", str(2**30))
os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", str(2**32))
