"""What logging costs and how fast a run is read back: `python -m benchmarks.logbook_cost`, some 2 minutes on two cores.

The network is that of the first failure in notebook 02, eight hidden layers of 100 ReLU units on MNIST, with plain SGD.
It is trained without a logbook, with one that gets the loss alone, and with one that watches the model, at every step,
every 16th and every 100th; in turns, on one thread. Reading is compared with TensorBoard's own EventAccumulator.
"""

import tempfile
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy

from benchmarks.cifar_mlp import BATCH_SIZE, mlp
from benchmarks.measure import seconds
from benchmarks.report import write_report
from helpers import data, logbook

SIZES, STEPS, REPEATS = (784, *[100] * 8, 10), 300, 5
WAYS = {  # name -> (every, watched)
    "no logbook": None,
    "loss only, every step": (1, False),
    "all layers, every step": (1, True),
    "all layers, every 16th": (16, True),
    "all layers, every 100th": (100, True),
}


def train(way, folder: Path) -> None:
    """Train, and log it as the way says."""
    torch.manual_seed(0)
    dataset = data.load("MNIST", allow_standin=False)
    chosen = slice(STEPS * BATCH_SIZE)
    images, labels = data.as_vectors(dataset.train_images[chosen]), dataset.train_labels[chosen]
    model = mlp(SIZES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    every, watched = way or (1, False)
    with logbook.Logbook(folder, every) if way else nullcontext() as log:
        if watched:
            log.watch(model)
        for x, y in zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True):
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if way:
                log.step(BATCH_SIZE, loss=loss)


def main() -> None:
    """Measure everything and write the table."""
    torch.set_num_threads(1)
    train(None, Path())
    with tempfile.TemporaryDirectory() as root:
        folders = {name: Path(root) / str(number) for number, name in enumerate(WAYS)}
        rounds = [
            {name: seconds(lambda way=way, name=name: train(way, folders[name])) for name, way in WAYS.items()}
            for _ in range(REPEATS)
        ]
        rows = []
        for name in WAYS:
            ratios = [times[name] / times["no logbook"] for times in rounds]
            size = sum(file.stat().st_size for file in folders[name].glob("*")) / 1e6
            milliseconds = median(times[name] for times in rounds) / STEPS * 1000
            spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows.append((name, f"{milliseconds:.2f}", spread, f"{size:.2f}"))
        run = folders["all layers, every step"]
        ours = [seconds(lambda: logbook.read(run)) for _ in range(REPEATS)]
        everything = dict.fromkeys(("scalars", "histograms", "images", "tensors", "compressedHistograms"), 0)
        theirs = [seconds(EventAccumulator(str(run), everything).Reload) for _ in range(REPEATS)]
        entries = sum(len(series.values) for series in logbook.read(run).values())
    write_report(
        "logbook_cost",
        f"Logging a network of {len(SIZES) - 1} Linear layers, {STEPS} steps of {BATCH_SIZE} images",
        ["what is logged", "ms a step", "times as long as without", "MB"],
        rows,
        f"One thread; medians (extremes) of {REPEATS} runs in turns. All layers: distributions, norms and histograms "
        "of the outputs of all modules, of all parameters, their gradients and their updates.\n\n"
        f"Reading the run of every step back, {entries:,} entries: `logbook.read` {median(ours):.2f} s, TensorBoard's "
        f"EventAccumulator {median(theirs):.2f} s, {median(theirs) / median(ours):.1f} times as long.",
    )


if __name__ == "__main__":
    main()
