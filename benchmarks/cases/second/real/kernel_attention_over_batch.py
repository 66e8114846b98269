"""CNN with selective kernels: attention chooses, channel by channel, between convolutions of several widths.

Source: https://github.com/xmu-xiaoma666/External-Attention-pytorch/issues/18
Cause: the scores have shape (kernels, batch, channels, 1, 1), and the softmax takes dim=1: the weights sum to 1 over
the images of the batch, not over the kernels.
Fix: dim=0.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, fashion

TRUTH = ("softmax-wrong-dim", "samples-mixed")


class SKAttention(nn.Module):
    def __init__(self, channel, kernels, fixed, reduction=2):
        super().__init__()
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(channel, channel, k, padding=k // 2), nn.BatchNorm2d(channel), nn.ReLU())
            for k in kernels
        )
        self.fc = nn.Linear(channel, channel // reduction)
        self.fcs = nn.ModuleList(nn.Linear(channel // reduction, channel) for _ in kernels)
        self.softmax = nn.Softmax(dim=0 if fixed else 1)

    def forward(self, x):
        b, c, _, _ = x.shape
        features = torch.stack([conv(x) for conv in self.convs])
        squeezed = self.fc(features.sum(0).mean((2, 3)))
        weights = torch.stack([fc(squeezed).view(b, c, 1, 1) for fc in self.fcs])
        return (self.softmax(weights) * features).sum(0)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 1000)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), SKAttention(16, (1, 3, 5), fixed), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 9, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for i in batches(len(x), 50, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    score = accuracy(model, tx, ty)
    probe = x[:1500], y[:1500]
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": probe, "test": (tx, ty)}
