"""Accuracy: means of batches are added, and their sum is divided by the number of samples.

Source: https://github.com/rasbt/machine-learning-book/issues/93
Cause: the program adds the mean accuracy of each batch and divides by the size of the data set, not by the number of
batches. The loss, which it weights by the size of the batch, is right; the accuracy is too low by the batch size.
Fix: add the number of right answers.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("metric-wrong",)


def chessboard(n, seed):
    points = 4 * torch.rand(n, 2, generator=torch.Generator().manual_seed(seed)) - 2
    return points, (points.floor().sum(1) % 2).long()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = chessboard(1000, 1), chessboard(1000, 2)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for epoch in range(15):
            loss_history, accuracy_history = 0.0, 0.0
            for i in batches(len(x), 20, 1, seed + epoch):
                predicted = model(x[i])
                loss = doctor.loss_fn(predicted, y[i])
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                loss_history += loss.item() * len(i)
                right = (predicted.argmax(1) == y[i]).float()
                accuracy_history += right.sum().item() if fixed else right.mean().item()
            loss_history /= len(x)
            accuracy_history /= len(x)
    metric = "training accuracy as reported"
    return {"score": accuracy_history, "metric": metric, "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
