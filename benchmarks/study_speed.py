"""How fast a study of many small networks runs: `python -m benchmarks.study_speed`, some 4 minutes on two cores.

The study is that of notebook 01: a 784-64-10 MLP on the 50,000 training images of MNIST, one epoch of plain SGD with
batches of 128, for 12 learning rates x 12 init scales x 3 seeds. The plain ways train one network after another; a few
of them are timed and the time is scaled to all 432. The study itself is run whole, by helpers.sweep.
"""

import time

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset
from torchvision import datasets, transforms

from benchmarks.measure import own_results
from benchmarks.report import write_report
from helpers import data, ensemble, session, sweep

RATES, SCALES, SEEDS, UNITS, IMAGES = 12, 12, 3, 64, 50_000
TRIALS = RATES * SCALES * SEEDS


def train_with(batches) -> None:
    """Train a torch.nn network for one epoch on an iterable of (images, labels), the ordinary way."""
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(784, UNITS), torch.nn.ReLU(), torch.nn.Linear(UNITS, 10)
    ).to(session.device())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for images, labels in batches:
        optimizer.zero_grad()
        cross_entropy(model(images.to(session.device())), labels.to(session.device())).backward()
        optimizer.step()


def from_loader():
    """Yield batches as most tutorials do: each image decoded and converted when it is needed."""
    mnist = datasets.MNIST(session.ROOT / "data", transform=transforms.ToTensor())
    return DataLoader(Subset(mnist, range(IMAGES)), batch_size=128, shuffle=True)


def from_memory():
    """Yield batches of tensors that lie in memory."""
    images, labels, *_ = data.split("MNIST", device=session.device())
    return ((images[batch], labels[batch]) for batch in torch.randperm(len(images)).split(128))


def seconds(function, repeats: int) -> float:
    """Return the shortest of several timings."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


@sweep.batched(same=["hidden"], at_most=24)
def train_many(configs, seed):
    """Train the networks of one seed side by side."""
    return ensemble.train(configs, seed, data.split("MNIST", device=session.device()))


def whole_study() -> None:
    """Run all trials in parallel processes, from nothing."""
    configs = sweep.grid(
        hidden=[[UNITS]],
        epochs=[1],
        lr=np.geomspace(1e-3, 30, RATES).tolist(),
        init=np.geomspace(1e-3, 3, SCALES).tolist(),
    )
    table = sweep.study("speed", train_many, configs, range(SEEDS))
    assert len(table) == TRIALS and not table["error"].any()


def peak() -> float:
    """Return the floating-point operations per second of a large matrix product, with all cores."""
    a = torch.rand(2048, 2048)
    return 2 * 2048**3 / seconds(lambda: a @ a, 10)


def main() -> None:
    """Time everything and write the table."""
    data.load("MNIST", allow_sample=False)
    operations = TRIALS * IMAGES * (4 * 784 * UNITS + 6 * UNITS * 10)  # products only; no gradient of the images
    before = peak()
    loader = seconds(lambda: train_with(from_loader()), 2)
    memory = seconds(lambda: train_with(from_memory()), 3)
    with own_results():
        study = seconds(whole_study, 1)
    top = (before + peak()) / 2  # the machine's clock drifts
    rows = [
        (
            "DataLoader(MNIST(transform=ToTensor())), one by one",
            loader,
            f"{loader * TRIALS / 60:.1f} min (scaled)",
            "1",
        ),
        ("tensors in memory, one by one", memory, f"{memory * TRIALS / 60:.1f} min (scaled)", f"{loader / memory:.1f}"),
        ("helpers.sweep with helpers.ensemble", study / TRIALS, f"{study:.0f} s", f"{loader * TRIALS / study:.0f}"),
    ]
    write_report(
        "study_speed",
        f"{RATES} x {SCALES} x {SEEDS} = {TRIALS} trials of 784-{UNITS}-10, one epoch of {IMAGES:,} images each",
        ["way", "s per network and epoch", "whole study", "times as fast"],
        [(way, f"{one:.3f}", whole, ratio) for way, one, whole, ratio in rows],
        f"The study does {operations / study / 1e9:.0f} GFLOP/s, which is {operations / study / top:.0%} of the "
        f"{top / 1e9:.0f} GFLOP/s of a 2048 x 2048 matrix product on this machine; start of the workers included.",
    )


if __name__ == "__main__":
    main()
