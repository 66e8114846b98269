"""Classifier that ends with a log-softmax over the batch.

Source: https://github.com/perone/euclidesdb/issues/2
Cause: dim=0 is the batch: the probabilities of a class sum to 1 over the images, instead of those of an image over the
    classes.
Fix: dim=1.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("softmax-wrong-dim", "samples-mixed")


class Classifier(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.hidden1, self.hidden2, self.output = nn.Linear(784, 128), nn.Linear(128, 64), nn.Linear(64, 10)
        self.dim = dim

    def forward(self, x):
        x = torch.relu(self.hidden1(x.flatten(1)))
        x = torch.relu(self.hidden2(x))
        return torch.log_softmax(self.output(x), dim=self.dim)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(10_000, 2000)
    model = Classifier(dim=1 if fixed else 0)
    loss_fn = nn.NLLLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(x), 32, 2, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty, 1)  # image by image, as the model is used
    return {
        "score": score,
        "metric": "test accuracy, image by image",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
