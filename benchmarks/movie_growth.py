"""How time and memory of a movie grow: `python -m benchmarks.movie_growth`, some 3 minutes on two cores.

The movies of benchmarks/movie_speed.py with 10 to 1000 batches, and with networks of several sizes. Making the movie
counts, not the training. Of the plain way a few frames of movies with 100 batches are timed, and the time is scaled to
all frames; beyond the last of them by a line. Each training has a fresh process with one thread. Peaks of memory are
read from /proc, so this needs Linux.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from benchmarks import plain_movie
from benchmarks.cifar_mlp import histories, network_name, train
from benchmarks.measure import forget_peak, in_fresh_process, memory, seconds
from benchmarks.report import write_report
from helpers import data
from helpers.figures import training_figure

BATCHES = 100  # where the plain way is timed
SMALL, COUNTS = (64, 32), (10, 30, BATCHES, 300, 1000)  # a small network, as all that is recorded stays in memory
SMALL_AT = (1, 10, 20, 30, 65, 100)  # the frames of the plain way that are timed
SIZES = {  # widths of larger networks -> such frames; the middle one is that of notebook 04
    (64, 32, 32, 16): (1, 100),
    (256, 128, 128, 64): (1, 100),
    (1024, 512, 512, 256): (1, 30),
}


@dataclass
class Movie:
    """What our movie of a training costs, and where frames of the plain way were timed, what that would cost."""

    recorded: float  # MB
    seconds: float
    peak: float  # MB beside the records
    plain: plain_movie.PlainMovie | None


def measure(widths, batches: int, plain_at) -> Movie:
    """Record a training and make a movie of it, then the given frames of a plain one."""
    torch.set_num_threads(1)
    monitor = train(widths, batches)
    history = histories(monitor)
    recorded = sum(tensor.nbytes for lists in history[:3] for tensors in lists.values() for tensor in tensors)
    with tempfile.TemporaryDirectory() as folder:
        forget_peak()
        before = memory()
        took = seconds(lambda: monitor.make_movie(training_figure, Path(folder) / "movie.gif"))
        peak = memory("VmHWM") - before
    plain = plain_movie.sample(history, plain_at) if plain_at else None
    return Movie(recorded / 1e6, took, peak, plain)


def row(widths, batches: int, ours: Movie, plain: plain_movie.PlainMovie) -> tuple[str, ...]:
    """Write one row of the table."""
    height, width = plain.pixels
    whole = plain.seconds(batches)
    return (
        network_name(widths),
        str(batches),
        f"{ours.recorded:.0f}",
        f"{ours.seconds:.2f}",
        f"{1000 * ours.seconds / batches:.1f}",
        f"{ours.peak:.0f}",
        f"{whole:.0f}" + (" (extrapolated)" if batches > plain.at[-1] else ""),
        f"{height * width * 3 * batches / 1e6:.0f}",
        f"{whole / ours.seconds:.0f}",
    )


def power(costs: dict[int, float]) -> str:
    """Write the power of the number of batches with which costs grow, over all points and over the last two."""
    x, y = np.log(list(costs)), np.log(list(costs.values()))
    return f"{np.polyfit(x, y, 1)[0]:.2f} (between the last two {np.polyfit(x[-2:], y[-2:], 1)[0]:.2f})"


def main() -> None:
    """Measure everything and write the table."""
    data.load("CIFAR10", allow_sample=False)
    small = {n: in_fresh_process(measure, SMALL, n, SMALL_AT if n == BATCHES else ()) for n in COUNTS}
    plain = small[BATCHES].plain
    rows = [row(SMALL, batches, ours, plain) for batches, ours in small.items()]
    for widths, plain_at in SIZES.items():
        ours = in_fresh_process(measure, widths, BATCHES, plain_at)
        rows.append(row(widths, BATCHES, ours, ours.plain))
    time_power = power({n: ours.seconds for n, ours in small.items()})
    peak_power = power({n: ours.peak for n, ours in small.items()})
    plain_power = power({n: plain.seconds(n) for n in COUNTS if n <= BATCHES})
    write_report(
        "movie_growth",
        "Making a movie, by the number of batches and the size of the network",
        [
            "network",
            "batches",
            "recorded, MB",
            "ours, s",
            "ours, ms a batch",
            "ours, peak beside the records, MB",
            "plain way, s (scaled)",
            "plain way, its frames, MB (computed)",
            "times as fast",
        ],
        rows,
        f"{network_name(SMALL)}: seconds grow with the number of batches to the power of, ours, {time_power}, from "
        f"{COUNTS[0]} to {COUNTS[-1]}; the plain way, {plain_power}, from {COUNTS[0]} to {BATCHES}. The peak of memory "
        f"of ours: {peak_power}. What a movie costs before its first frame lowers the powers. The plain way is scaled "
        "from the drawing of a few frames and the mean time of encoding them; extrapolated: beyond the last of them "
        "by the line fitted to their times. The plain way holds all its RGB frames at once; that is computed.",
    )


if __name__ == "__main__":
    main()
