"""Seconds, resident memory, processes that have done nothing before, and a folder of results that is a benchmark's own.

Memory is read from /proc: Linux only.
"""

import contextlib
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path


def seconds(function) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def memory(kind: str = "VmRSS") -> float:
    """Return this process's resident memory in MB; with "VmHWM" its peak since the last `forget_peak`."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024 / 1e6


def forget_peak() -> None:
    """Let the peak of resident memory begin anew."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")


def in_fresh_process(function, *arguments):
    """Return what a call returns in a process that has done nothing before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


@contextlib.contextmanager
def own_results() -> Iterator[Path]:
    """Give an empty temporary folder to which studies write meanwhile, not to the user's; it is deleted at the end."""
    before = os.environ.get("RUNS")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["RUNS"] = folder
        try:
            yield Path(folder)
        finally:
            del os.environ["RUNS"]
            if before is not None:
                os.environ["RUNS"] = before
