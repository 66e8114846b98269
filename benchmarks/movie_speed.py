"""How fast a movie of a training is made: `python -m benchmarks.movie_speed`, some 7 minutes on two cores.

The movie is one of notebook 04: an MLP with four hidden layers on CIFAR-10, 100 batches of SGD with momentum, the loss
on 500 validation images after each batch; 14 panels. The plain way takes minutes: a few of its frames are timed, and
the time is scaled to all of them, as for our figures drawn anew for each frame. The parts of our way are timed in turns
and on one thread. Then helpers.sweep trains 84 networks in two processes, once alone and once with their movies; last,
a small network shows how the time grows from 10 to 1000 batches.
"""

import tempfile
import time
from pathlib import Path
from statistics import median

import joblib
import torch

from benchmarks import movie_growth, plain_movie
from benchmarks.cifar_mlp import BATCH_SIZE, VALIDATION, histories, network_name, train
from benchmarks.measure import forget_peak, in_fresh_process, memory, own_results, seconds
from benchmarks.report import write_report
from helpers import data, movie, sweep
from helpers.figures import training_figure

WIDTHS, BATCHES, REPEATS = (256, 128, 128, 64), 100, 3
PLAIN_AT, ANEW_AT = (1, 25, 50, 75, 100), (1, 40, 70, 100)  # the frames that are timed
MOVIES = 84  # those of notebook 04
GROWTH = (10, 100, 1000)  # batches of the small network


def time_parts(history: tuple, ours: Path, floor: Path) -> dict[str, float]:
    """Return the median seconds of our way, its parts, and a GIF of one frame again and again; leave the two GIFs."""
    frames = list(movie.frames(training_figure, history, BATCHES))
    parts = {
        "train": lambda: train(WIDTHS, BATCHES, monitored=False),
        "record": lambda: train(WIDTHS, BATCHES),  # trains too
        "draw": lambda: list(movie.frames(training_figure, history, BATCHES)),
        "write": lambda: movie.write_gif(ours, frames, 10),
        "still": lambda: movie.write_gif(floor, [frames[-1]] * BATCHES, 10),
        "whole": lambda: train(WIDTHS, BATCHES).make_movie(training_figure, ours),
    }
    rounds = [{name: seconds(part) for name, part in parts.items()} for _ in range(REPEATS)]
    return {name: median(times[name] for times in rounds) for name in parts}


def trial(config, seed):
    """Train, and make a movie if the config names a folder; a trial of a study."""
    torch.set_num_threads(1)
    forget_peak()
    folder = config["folder"]
    monitor = train(WIDTHS, BATCHES, monitored=bool(folder), seed=seed)
    if folder:
        monitor.make_movie(training_figure, Path(folder) / f"{seed}.gif")
    return {"peak": memory("VmHWM")}


def time_all() -> tuple[float, float, float]:
    """Return the seconds of all trainings alone, and with movies, in two warm processes; and a worker's peak in MB."""
    with own_results() as folder, joblib.parallel_config(n_jobs=2):
        # Imports do not count: loky replaces a worker that holds much more memory than after its first trial.
        sweep.study("warm", trial, [{"folder": str(folder)}], range(2))
        alone, _ = time_study("alone", "")
        whole, table = time_study("movies", str(folder))
    return alone, whole, table["peak"].max()


def time_study(name: str, folder: str):
    """Return the seconds and the table of a study of all trainings."""
    start = time.perf_counter()
    table = sweep.study(name, trial, [{"folder": folder}], range(MOVIES))
    took = time.perf_counter() - start
    assert not table["error"].any(), table["error"].tolist()
    return took, table


def join(numbers, spec: str = "") -> str:
    """Write numbers in a row."""
    return ", ".join(format(number, spec) for number in numbers)


def main() -> None:
    """Time everything and write the table."""
    torch.set_num_threads(1)
    imports = memory()
    data.load("CIFAR10", allow_sample=False)
    history = histories(train(WIDTHS, BATCHES))
    with tempfile.TemporaryDirectory() as folder:
        ours, floor = Path(folder) / "ours.gif", Path(folder) / "floor.gif"
        took = time_parts(history, ours, floor)
        ours_size, floor_size = (f"{file.stat().st_size / 1000:.0f}" for file in (ours, floor))
    anew, pictures = plain_movie.time_frames(training_figure, history, ANEW_AT)
    plain = plain_movie.sample(history, PLAIN_AT)
    height, width = plain.pixels
    assert pictures[0].shape == (height, width, 3)
    all_anew = plain_movie.seconds_of_all(ANEW_AT, anew, BATCHES)
    whole_plain = took["record"] + plain.seconds(BATCHES)
    plain_size = f"{plain.kilobytes * BATCHES:.0f} (scaled)"
    del history  # 400 MB
    alone, whole, peak = time_all()
    growth = {n: in_fresh_process(movie_growth.measure, movie_growth.SMALL, n, ()).seconds for n in GROWTH}
    ways = [
        ("training alone", took["train"], "", ""),
        (f"floor: training, one frame encoded {BATCHES} times", took["train"] + took["still"], "", floor_size),
        ("ours: training, recording, make_movie(training_figure)", took["whole"], "", ours_size),
        ("the same figures, each drawn anew", took["record"] + all_anew + took["write"], " (scaled)", ours_size),
        ("plain way: ax.boxplot, imageio.mimsave", whole_plain, " (scaled)", plain_size),
    ]
    write_report(
        "movie_speed",
        f"One movie: {network_name(WIDTHS)} on CIFAR-10, {BATCHES} batches of {BATCH_SIZE}, {width} x {height} pixels",
        ["way", "seconds", "times as fast as the plain way", "KB"],
        [(way, f"{one:.2f}{scaled}", f"{whole_plain / one:.1f}", size) for way, one, scaled, size in ways],
        f"One thread, medians of {REPEATS}. Every row contains the training, with the loss on {VALIDATION} validation "
        f"images after each batch. Parts of ours: training {took['train']:.2f} s, recording "
        f"{took['record'] - took['train']:.2f}, quantiles and drawing {took['draw']:.2f}, writing the GIF "
        f"{took['write']:.2f}. Scaled: the plain way from its frames at t = {join(PLAIN_AT)}, which took "
        f"{join(plain.drawing, '.2f')} s, and {plain.encoding:.2f} s each for encoding just these; the figures drawn "
        f"anew from t = {join(ANEW_AT)}, {join(anew, '.2f')} s.\n\n"
        f"{MOVIES} in two warm processes of helpers.sweep: the trainings alone {alone:.0f} s, with the movies "
        f"{whole:.0f} s, {whole / alone:.2f} times as long; the aim is at most 90 s and 1.6 times. A worker needs at "
        f"most {peak:.0f} MB, {imports:.0f} of them for the imports. The plain way would take {whole_plain * MOVIES / 2 / 60:.0f} minutes, half of what it "
        "takes for all one by one.\n\n"
        f"Growth: the movie alone of {network_name(movie_growth.SMALL)} with {join(GROWTH)} batches takes "
        f"{join(growth.values(), '.2f')} s, the number of batches to the power of {movie_growth.power(growth)}.",
    )


if __name__ == "__main__":
    main()
