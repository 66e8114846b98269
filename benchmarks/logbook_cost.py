"""What logging costs and how fast a run is read back: `python -m benchmarks.logbook_cost`, some 4 minutes on two cores.

The network is that of the first failure in notebook 02, eight hidden layers of 100 ReLU units on MNIST, with plain SGD.
It is trained without a logbook, with one that gets the loss alone, and with one that watches the model, at every step,
every 16th and every 100th; and the plain way, with SummaryWriter's add_scalar and add_histogram for the same numbers.
In turns, on one thread. Reading is compared with TensorBoard's own EventAccumulator.
"""

import tempfile
from contextlib import nullcontext
from pathlib import Path
from statistics import median

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn.functional import cross_entropy
from torch.utils.tensorboard import SummaryWriter

from benchmarks.cifar_mlp import BATCH_SIZE, mlp
from benchmarks.measure import seconds
from benchmarks.report import write_report
from helpers import data, logbook

SIZES, STEPS, REPEATS = (784, *[100] * 8, 10), 300, 3
WAYS = {  # name -> (every, watched)
    "no logbook": None,
    "loss only, every step": (1, False),
    "all layers, every step": (1, True),
    "all layers, every 16th": (16, True),
    "all layers, every 100th": (100, True),
}
PLAIN = "the same, every step, the plain way"


def prepare():
    """Return model, optimizer and batches, the same in each run."""
    torch.manual_seed(0)
    dataset = data.load("MNIST", allow_sample=False)
    chosen = slice(STEPS * BATCH_SIZE)
    images, labels = data.as_vectors(dataset.train_images[chosen]), dataset.train_labels[chosen]
    model = mlp(SIZES)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return model, optimizer, zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True)


def train(way, folder: Path) -> None:
    """Train, and log it as the way says: (every, watched), or None."""
    model, optimizer, batches = prepare()
    every, watched = way or (1, False)
    with logbook.Logbook(folder, every) if way else nullcontext() as log:
        if watched:
            log.watch(model)
        for x, y in batches:
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if way:
                log.step(BATCH_SIZE, loss=loss)


def train_plainly(folder: Path) -> None:
    """Train, and log the same numbers of every step with a call of SummaryWriter for each."""
    model, optimizer, batches = prepare()
    outputs = {}
    for name, module in model.named_children():
        module.register_forward_hook(lambda module, args, output, name=name: outputs.update({name: output}))
    with SummaryWriter(str(folder)) as writer:
        for step, (x, y) in enumerate(batches):
            loss = cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            before = {name: p.detach().clone() for name, p in model.named_parameters()}
            optimizer.step()
            for name, output in outputs.items():
                zeros = output == 0
                writer.add_histogram(f"activation/{name}", output, step)
                writer.add_scalar(f"mean/{name}", output.mean(), step)
                writer.add_scalar(f"std/{name}", output.std(), step)
                for level in logbook.PERCENTILES:
                    writer.add_scalar(f"p{level}/{name}", output.quantile(level / 100), step)
                writer.add_scalar(f"zeros/{name}", zeros.float().mean(), step)
                writer.add_scalar(f"units_at_zero/{name}", zeros.all(dim=0).float().mean(), step)
            for name, p in model.named_parameters():
                change, size = torch.linalg.norm(p.detach() - before[name]), torch.linalg.norm(before[name])
                writer.add_histogram(f"weight/{name}", before[name], step)
                writer.add_histogram(f"gradient/{name}", p.grad, step)
                writer.add_scalar(f"gradient_norm/{name}", torch.linalg.norm(p.grad), step)
                writer.add_scalar(f"weight_norm/{name}", size, step)
                writer.add_scalar(f"update_to_weight/{name}", change / size, step)
            writer.add_scalar("loss", loss, step)


def time_ways(folder: Path) -> dict[str, float]:
    """Return the seconds of each way, its run in a folder of its own."""
    times = {name: seconds(lambda way=way, name=name: train(way, folder / name)) for name, way in WAYS.items()}
    return times | {PLAIN: seconds(lambda: train_plainly(folder / PLAIN))}


def main() -> None:
    """Measure everything and write the table."""
    torch.set_num_threads(1)
    train(None, Path())
    with tempfile.TemporaryDirectory() as root:
        folders = [Path(root) / str(number) for number in range(REPEATS)]
        rounds = [time_ways(folder) for folder in folders]
        rows = []
        for name in rounds[0]:
            ratios = [times[name] / times["no logbook"] for times in rounds]
            size = sum(file.stat().st_size for file in (folders[-1] / name).glob("*")) / 1e6
            milliseconds = median(times[name] for times in rounds) / STEPS * 1000
            spread = f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            rows.append((name, f"{milliseconds:.2f}", spread, f"{size:.2f}"))
        run = folders[-1] / "all layers, every step"
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
