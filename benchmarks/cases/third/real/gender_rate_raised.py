"""Binary classifier of pictures by a small network of the year 2015, its rate the default that suits another task.

Source: https://github.com/dpressel/rude-carnie/issues/35 (TensorFlow; the same in PyTorch)
Cause: the default rate was raised for the ages; for the gender the loss does not fall at all with it.
Fix: --eta as it was before, ten times lower.
"""

import torch
from torch import nn

from benchmarks.cases.data import cifar

TRUTH = ("lr-too-high", "dead-relu")


class LeviHassner(nn.Module):
    def __init__(self, nlabels: int, pkeep: float):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 16, 7, padding=3), nn.Conv2d(16, 24, 5, padding=2)
        self.conv3 = nn.Conv2d(24, 32, 3, padding=1)
        self.full1, self.full2, self.output = nn.Linear(32 * 9, 128), nn.Linear(128, 128), nn.Linear(128, nlabels)
        self.relu, self.pool = nn.ReLU(), nn.MaxPool2d(3, 2)
        self.norm, self.drop = nn.LocalResponseNorm(5, alpha=0.0001, beta=0.75), nn.Dropout(1 - pkeep)
        for layer in (self.conv1, self.conv2, self.conv3, self.full1, self.full2, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, images):
        h = self.norm(self.pool(self.relu(self.conv1(images))))
        h = self.norm(self.pool(self.relu(self.conv2(h))))
        h = self.pool(self.relu(self.conv3(h))).flatten(1)
        h = self.drop(self.relu(self.full1(h)))
        return self.output(self.drop(self.relu(self.full2(h))))


def faces(n: int, m: int):
    """Two kinds of pictures that are told apart by their shapes: animals and vehicles."""
    x, y, tx, ty = cifar(n, m)
    animal = torch.tensor([0, 0, 1, 1, 1, 1, 1, 1, 0, 0])
    return x, animal[y], tx, animal[ty]


def run(fixed: bool, watch, seed: int = 0, pdrop: float = 0.0, max_steps: int = 200, batch_size: int = 32) -> dict:
    torch.manual_seed(seed)
    eta = 0.01 if fixed else 0.1
    x, y, tx, ty = faces(5000, 1000)
    net = LeviHassner(2, 1 - pdrop)
    optz = torch.optim.SGD(net.parameters(), lr=eta, momentum=0.9)
    decay = torch.optim.lr_scheduler.StepLR(optz, step_size=150, gamma=0.1)
    with watch(net, nn.CrossEntropyLoss(), optz) as doctor:
        for _step in range(max_steps):
            i = torch.randint(len(x), (batch_size,))
            total_loss = doctor.loss_fn(net(x[i]), y[i])
            optz.zero_grad()
            total_loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 4.0)
            optz.step()
            decay.step()
    net.eval()
    with torch.no_grad():
        score = torch.cat([net(part).argmax(1) for part in tx.split(250)]).eq(ty).float().mean().item()
    probe = x[:600], y[:600]
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
