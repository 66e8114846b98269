"""What a TorchMonitor costs, in time and in memory: `python -m benchmarks.monitor_cost`, some 1.5 minutes.

The same training steps run with and without a monitor, in turns and on one thread, each network in several fresh
processes, since it depends on where their memory happens to lie. A step is a batch with its update, and with a monitor
the two calls that report it; there is no validation, which would make the share of the monitor smaller. Resident memory
is read from /proc, so this needs Linux.
"""

import ctypes
import gc
import itertools
from statistics import median

import torch

from benchmarks.cifar_mlp import BATCH_SIZE, mlp, take_steps
from benchmarks.measure import in_fresh_process, memory, seconds
from benchmarks.report import write_report
from helpers import data
from helpers.monitor import TorchMonitor

PROCESSES = 3
NETWORKS = (  # data, layers, steps in a row, repeats in each process
    ("MNIST", (784, 64, 32, 10), 200, 5),
    ("CIFAR10", (3072, 256, 128, 128, 64, 10), 50, 5),
    ("CIFAR10", (3072, 2048, 2048, 10), 12, 2),
)


def measure(name: str, sizes, steps: int, repeats: int) -> dict:
    """Return milliseconds a step without and with a monitor, and MB a batch: of the tensors, and of resident memory."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    dataset = data.load(name, allow_sample=False)
    chosen = slice(steps * BATCH_SIZE)
    images, labels = data.as_vectors(dataset.train_images[chosen]), dataset.train_labels[chosen]
    batches = list(zip(images.split(BATCH_SIZE), labels.split(BATCH_SIZE), strict=True))
    model = mlp(sizes)
    training = model, torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), batches
    take_steps(*training)  # the first ones, which also allocate what stays
    kept, resident = memory_of(*training)
    without, with_monitor = [], []
    for _ in range(repeats):
        without.append(milliseconds(*training, monitored=False))
        with_monitor.append(milliseconds(*training, monitored=True))
    return {"without": without, "with": with_monitor, "kept": kept, "resident": resident}


def memory_of(model, optimizer, batches) -> tuple[float, float]:
    """Return the MB a batch that a monitor's tensors hold, and by which resident memory grows."""
    give_back_memory()
    with TorchMonitor(model) as monitor:
        before = memory()
        take_steps(model, optimizer, batches, monitor)
        resident = (memory() - before) / len(batches)
    groups = monitor.weights, monitor.net_values, monitor.activations
    kept = sum(tensors[-1].nbytes for group in groups for tensors in group.values())
    return kept / 1e6, resident


def milliseconds(model, optimizer, batches, monitored: bool) -> float:
    """Return the time of a step; the records are gone thereafter."""
    monitor = TorchMonitor(model) if monitored else None
    took = seconds(lambda: take_steps(model, optimizer, batches, monitor))
    if monitored:
        monitor.close()
    return 1000 * took / len(batches)


def give_back_memory() -> None:
    """Return freed memory to the system; otherwise records would first fill it, and not show as growth."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)


def computed_bytes(sizes) -> int:
    """Return what the documentation of TorchMonitor says: 4 bytes for each weight, 8 for each ReLU unit and sample."""
    weights = sum(inputs * outputs for inputs, outputs in itertools.pairwise(sizes))
    return 4 * weights + 8 * BATCH_SIZE * sum(sizes[1:-1])


def row(name: str, sizes, results: list[dict]) -> tuple[str, ...]:
    """Write one row of the table."""
    without, with_monitor = ([ms for result in results for ms in result[key]] for key in ("without", "with"))
    ratios = [b / a for a, b in zip(without, with_monitor, strict=True)]
    computed = computed_bytes(sizes) / 1e6
    assert all(result["kept"] == computed for result in results)
    resident = [result["resident"] for result in results]
    return (
        f"{name}, {'-'.join(map(str, sizes))}",
        f"{median(without):.2f}",
        f"{median(with_monitor):.2f}",
        f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{computed:.2f}",
        f"{min(resident):.2f} to {max(resident):.2f}",
        f"{1000 * computed:,.0f}",
    )


def main() -> None:
    """Measure all networks and write the table."""
    rows = []
    for name, sizes, *counts in NETWORKS:
        results = [in_fresh_process(measure, name, sizes, *counts) for _ in range(PROCESSES)]
        rows.append(row(name, sizes, results))
    turns = ", ".join(f"{steps} x {repeats}" for *_, steps, repeats in NETWORKS)
    write_report(
        "monitor_cost",
        f"Training with a TorchMonitor, batches of {BATCH_SIZE}",
        [
            "network",
            "ms a step without",
            "ms a step with",
            "ratio",
            "MB a batch, computed",
            "MB a batch, measured",
            "MB for 1000 batches",
        ],
        rows,
        f"One thread; medians (extremes) of runs in turns, in {PROCESSES} processes ({turns}: steps x runs each way "
        "in a process), the ratio that of neighbours. Computed: 4 bytes for each weight and 8 for each ReLU unit and "
        "sample, exactly what the kept tensors hold, and the base of the last column. Measured: growth of resident "
        "memory in the first run with a monitor of each process; what exceeds the tensors is what the allocator holds "
        "beside them, which differs from process to process.",
    )


if __name__ == "__main__":
    main()
