"""What a Doctor costs, in time and in memory: `python -m benchmarks.doctor_cost`.

The same ordinary loop runs without a doctor and with one, in turns and on one thread, each network in several fresh
processes. Then the doctor is asked, without experiments and with them. Memory is read from /proc: Linux only.
"""

from contextlib import nullcontext
from itertools import cycle, islice
from statistics import median
from types import SimpleNamespace

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from benchmarks.measure import forget_peak, in_fresh_process, memory, seconds
from benchmarks.report import write_report
from benchmarks.sound_models import cnn, mlp
from doctor import Doctor
from helpers import data

PROCESSES, REPEATS, BATCH = 3, 5, 64
NETWORKS = {  # name -> data, network of an image's shape, steps in a row
    "MLP 784-128-64-10": ("MNIST", lambda s: mlp(s, 128, 64), 800),
    "MLP 3072-512-256-10": ("CIFAR10", lambda s: mlp(s, 512, 256), 300),
    "CNN, two convolutions, batch norm": ("CIFAR10", lambda s: cnn(s, nn.BatchNorm2d), 100),
}
EVERY = (16, 1)


def take_steps(model, optimizer, batches, doctor) -> None:
    """Train as a student would."""
    loss_fn = cross_entropy if doctor is None else doctor.loss_fn
    for inputs, targets in batches:
        optimizer.zero_grad()
        loss_fn(model(inputs), targets).backward()
        optimizer.step()


def measure(name: str) -> dict:
    """Return milliseconds a step without a doctor (0) and with one, seconds of reports, and the growth of memory."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    source, build, steps = NETWORKS[name]
    given = data.load(source, allow_sample=False)
    images, labels = given.train_images[:4000] / 255, given.train_labels[:4000]
    batches = list(islice(cycle(zip(images.split(BATCH), labels.split(BATCH), strict=True)), steps))
    model = build(images.shape[1:]).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    take_steps(model, optimizer, batches, None)
    times = {every: [] for every in (0, *EVERY)}
    grown = {}
    for _ in range(REPEATS):
        for every in times:
            forget_peak()
            before = memory()
            with Doctor(model, cross_entropy, optimizer, every) if every else nullcontext() as doctor:
                took = seconds(lambda doctor=doctor: take_steps(model, optimizer, batches, doctor))
            times[every].append(1000 * took / steps)
            grown.setdefault(every, memory("VmHWM") - before)
    reports = [seconds(doctor.report), seconds(lambda: doctor.report(probe=(images, labels)))]
    return {"times": times, "grown": grown, "reports": reports}


def main() -> None:
    """Measure all networks and write the table."""
    rows = []
    for name in NETWORKS:
        results = [SimpleNamespace(**in_fresh_process(measure, name)) for _ in range(PROCESSES)]
        row = [name, f"{median(ms for result in results for ms in result.times[0]):.2f}"]
        for every in EVERY:
            pairs = [zip(result.times[0], result.times[every], strict=True) for result in results]
            ratios = [b / a for pair in pairs for a, b in pair]
            row.append(f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        row.append(", ".join(f"{max(result.grown[every] for result in results):.0f}" for every in (0, *EVERY)))
        rows.append([*row, *(f"{median(result.reports[i] for result in results):.1f}" for i in (0, 1))])
    header = ["network", "ms a step without", *(f"ratio, every={every}" for every in EVERY)]
    header += ["MB without, " + ", ".join(f"every={every}" for every in EVERY), "s a report", "s with experiments"]
    steps = ", ".join(str(steps) for *_, steps in NETWORKS.values())
    write_report(
        "doctor_cost",
        f"Training with a Doctor, batches of {BATCH}",
        header,
        rows,
        f"One thread; medians (extremes) of neighboring runs of {steps} steps, {REPEATS} in each of {PROCESSES} "
        "processes. "
        "MB: by how much the peak of resident memory grew in the first run of a process, at most. The reports are of a "
        "sound run, watched at each step.",
    )


if __name__ == "__main__":
    main()
