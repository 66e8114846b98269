"""A cyclic learning rate, made for steps by batch, that is stepped once an epoch.

Source: https://github.com/Lightning-AI/pytorch-lightning/issues/5631
Cause: the trainer steps the schedule at the start of each epoch. CyclicLR counts batches, so after a few epochs the
rate has hardly left its lower end.
Fix: step the schedule after each batch (interval "step").
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, mnist

TRUTH = ("lr-too-low",)


class Trainer:
    """Runs the loop; the schedule is stepped by "epoch" or by "step"."""

    def __init__(self, epochs, interval):
        self.epochs, self.interval = epochs, interval

    def fit(self, model, optimizer, scheduler, loss_fn, x, y, seed):
        for epoch in range(self.epochs):
            for i in batches(len(x), 50, 1, seed + epoch):
                loss = loss_fn(model(x[i]), y[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if self.interval == "step":
                    scheduler.step()
            if self.interval == "epoch":
                scheduler.step()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(5000, 1000)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 5, 2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 5, 2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-5, momentum=0.9)
    scheduler = torch.optim.lr_scheduler.CyclicLR(optimizer, base_lr=1e-5, max_lr=0.05, step_size_up=150)
    trainer = Trainer(epochs=6, interval="step" if fixed else "epoch")
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        trainer.fit(model, optimizer, scheduler, doctor.loss_fn, x, y, seed)
    score = accuracy(model, tx, ty)
    return {
        "score": score,
        "metric": "test accuracy",
        "doctor": doctor,
        "probe": (x[:4000], y[:4000]),
        "test": (tx, ty),
    }
