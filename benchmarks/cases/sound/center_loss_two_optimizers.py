"""Center loss (Wen et al. 2016): the classes' centers are learned by an optimizer of their own, beside cross-entropy.

A careless tool could take the centers, which the first optimizer does not hold, or the small second loss, for a fault.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, mnist


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.PReLU(), nn.Linear(128, 8))
        self.head = nn.Linear(8, 10)

    def forward(self, x):
        features = self.body(x)
        return features, self.head(features)


class CenterLoss(nn.Module):
    def __init__(self):
        super().__init__()
        self.centers = nn.Parameter(torch.randn(10, 8))

    def forward(self, features, labels):
        return (features - self.centers[labels]).square().sum(1).mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(8000, 1000)
    model, center_loss = Net(), CenterLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    center_optimizer = torch.optim.SGD(center_loss.parameters(), lr=0.5)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            features, logits = model(x[i])
            loss = doctor.loss_fn(logits, y[i]) + 0.01 * center_loss(features, y[i])
            optimizer.zero_grad()
            center_optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            center_optimizer.step()
    with torch.no_grad():
        score = (model(tx)[1].argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": None, "test": None}
