"""Seconds, resident memory, and processes that have done nothing before. Memory is read from /proc: Linux only."""

import gc
import multiprocessing
import time
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
