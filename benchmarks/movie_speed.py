"""How fast a movie of a training is made: `python -m benchmarks.movie_speed`, some 2 minutes on two cores.

The movie is one of notebook 04: an MLP with four hidden layers on CIFAR-10, 100 batches of SGD with momentum, the loss
on 250 validation images after each batch; 14 panels. The plain way takes minutes: a few of its frames are timed, and
the time is scaled to all of them, as for our figures drawn anew for each frame. The parts of our way are timed in turns
and on one thread; last, helpers.sweep makes some movies in two processes.
"""

import tempfile
from pathlib import Path
from statistics import median

import joblib
import torch

from benchmarks import plain_movie
from benchmarks.cifar_mlp import BATCH_SIZE, VALIDATION, histories, network_name, train
from benchmarks.measure import own_results, seconds
from benchmarks.report import write_report
from helpers import data, movie, sweep
from helpers.figures import training_figure

WIDTHS, BATCHES, REPEATS = (256, 128, 128, 64), 100, 3
PLAIN_AT, ANEW_AT = (1, 25, 50, 75, 100), (1, 40, 70, 100)  # the frames that are timed
MOVIES, SAMPLE = 84, 6  # those of notebook 04, and how many are made here in two processes


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


def movie_trial(config, seed):
    """Train and make a movie, as a trial of a study."""
    monitor = train(WIDTHS, config["batches"], seed=seed)
    monitor.make_movie(training_figure, Path(config["folder"]) / f"{seed}.gif")
    return {"val_loss": monitor.val_losses[-1]}


def make_sample(folder: Path) -> None:
    """Make some movies in parallel processes."""
    table = sweep.study("movies", movie_trial, [{"batches": BATCHES, "folder": str(folder)}], range(SAMPLE))
    assert not table["error"].any(), table["error"].tolist()


def time_sample() -> float:
    """Return the seconds of that in two processes that have imported everything."""
    with own_results() as folder, joblib.parallel_config(n_jobs=2):
        # As long as the others: loky replaces a worker that holds much more memory than after its first trial.
        sweep.study("warm", movie_trial, [{"batches": BATCHES, "folder": str(folder)}], range(2))
        return seconds(lambda: make_sample(folder))


def join(numbers, spec: str = "") -> str:
    """Write numbers in a row."""
    return ", ".join(format(number, spec) for number in numbers)


def main() -> None:
    """Time everything and write the table."""
    torch.set_num_threads(1)
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
    sample = time_sample()
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
        f"{MOVIES} movies on two cores: ours {sample / SAMPLE * MOVIES / 60:.1f} minutes, scaled from {SAMPLE} that "
        f"helpers.sweep made in two warm processes in {sample:.1f} s; the plain way "
        f"{whole_plain * MOVIES / 2 / 60:.0f} minutes, half of what it would take for all one by one.",
    )


if __name__ == "__main__":
    main()
