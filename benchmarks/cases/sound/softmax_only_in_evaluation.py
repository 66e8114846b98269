"""The model returns logits for the loss while it trains, and probabilities in eval mode.

A careless tool could take the softmax at its end for one before the loss.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.flatten, self.softmax = nn.Flatten(), nn.Softmax(dim=1)
        self.hidden, self.norm, self.output = nn.Linear(784, 100), nn.BatchNorm1d(100), nn.Linear(100, 10)

    def forward(self, x):
        logits = self.output(self.norm(self.hidden(self.flatten(x))).relu())
        return logits if self.training else self.softmax(logits)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    model, criterion = Net(), nn.CrossEntropyLoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    sure = 0.0
    with watch(model, criterion, optimizer) as doctor:
        for epoch in range(4):
            model.train()
            for i in batches(len(x), 64, 1, seed + epoch):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x[i]), y[i])
                loss.backward()
                optimizer.step()
            model.eval()
            with torch.no_grad():
                sure, label = model(tx).max(1)
    score = (label == ty).float().mean().item()
    assert 0.5 < sure.mean() <= 1
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": (x[:3000], y[:3000]), "test": None}
