"""What the benchmarks of monitor and movies train: MLPs, with SGD, mostly on CIFAR-10."""

import itertools
import math
from collections import OrderedDict

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from helpers import data
from helpers.monitor import TorchMonitor

BATCH_SIZE, VALIDATION = 128, 500  # as in notebook 04


def mlp(sizes) -> nn.Sequential:
    """Return Linear layers of the given sizes with He's init, and ReLUs between them."""
    layers = OrderedDict()
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes), 1):
        layers[f"fc{number}"] = nn.Linear(inputs, outputs)
        nn.init.kaiming_normal_(layers[f"fc{number}"].weight)
        nn.init.zeros_(layers[f"fc{number}"].bias)
        layers[f"relu{number}"] = nn.ReLU()
    layers.popitem()
    return nn.Sequential(layers)


def take_steps(model, optimizer, batches, monitor=None, validation=None) -> None:
    """Take a step for each batch (images, labels), and report it with the loss on `validation`, or on the batch."""
    for images, labels in batches:
        loss = val_loss = cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if validation:
            with torch.no_grad():
                val_loss = cross_entropy(model.eval()(validation[0]), validation[1])
            model.train()
        if monitor:
            monitor.retrieve_weights_after_optimization_step()
            monitor.receive_losses(loss, val_loss)


def standardized(images: torch.Tensor) -> torch.Tensor:
    """Return images as vectors with a mean near 0 and a deviation near 1."""
    return (data.as_vectors(images) - 0.47) / 0.25


def train(widths, batches: int, monitored: bool = True, seed: int = 0) -> TorchMonitor | None:
    """Train on CIFAR-10 with one step and a validation for each batch, and return what was recorded."""
    torch.manual_seed(seed)
    cifar = data.load("CIFAR10", allow_sample=False)
    images, labels = cifar.train_images, cifar.train_labels
    order = torch.randperm(len(images))
    held_out, order = order[:VALIDATION], order[VALIDATION:]
    model = mlp((3072, *widths, 10))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    monitor = TorchMonitor(model) if monitored else None
    epochs = math.ceil(batches * BATCH_SIZE / len(order))
    chosen = order.repeat(epochs)[: batches * BATCH_SIZE].split(BATCH_SIZE)
    take_steps(
        model,
        optimizer,
        ((standardized(images[batch]), labels[batch]) for batch in chosen),
        monitor,
        validation=(standardized(images[held_out]), labels[held_out]),
    )
    if monitored:
        monitor.close()
    return monitor


def histories(monitor: TorchMonitor) -> tuple:
    """Return what a figure function is given beside t."""
    return monitor.weights, monitor.net_values, monitor.activations, monitor.train_losses, monitor.val_losses


def network_name(widths) -> str:
    """Write the layers of a network as 3072-64-32-10."""
    return "-".join(map(str, (3072, *widths, 10)))
