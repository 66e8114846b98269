"""A pruned mobile network that is evaluated with the usual constants of a model zoo.

Source: https://github.com/liuzechun/MetaPruning/issues/33
Cause: the network was trained on images in a range of their own; the script that evaluates it takes the normalization
that is usual elsewhere.
Fix: transform the images for the evaluation as for the training.
"""

import torch
from torch import nn

from benchmarks.cases.data import accuracy, batches, cifar

TRUTH = ("train-test-mismatch",)
MEAN = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
STD = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)


def train_transform(images):
    return images.float() / 255


def val_transform(images):
    return (images.float() / 255 - MEAN) / STD


def inverted_residual(a, b, stride, expand=2):
    hidden = a * expand
    return nn.Sequential(
        nn.Conv2d(a, hidden, 1, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
        nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False), nn.BatchNorm2d(hidden), nn.ReLU6(),
        nn.Conv2d(hidden, b, 1, bias=False), nn.BatchNorm2d(b),
    )  # fmt: skip


class MobileNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
        self.down1, self.down2 = inverted_residual(16, 24, 2), inverted_residual(24, 32, 2)
        self.same1, self.same2 = inverted_residual(24, 24, 1), inverted_residual(32, 32, 1)
        self.fc = nn.Linear(32, 10)

    def forward(self, x):
        x = self.down1(self.first(x))
        x = self.down2(x + self.same1(x))
        x = x + self.same2(x)
        return self.fc(x.mean((2, 3)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, vx, vy = cifar(5000, 1000, scale=False)
    x, vx = train_transform(x), (train_transform if fixed else val_transform)(vx)
    net = MobileNet()
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    with watch(net, nn.CrossEntropyLoss(label_smoothing=0.1), optimizer) as doctor:
        for i in batches(len(x), 64, 3, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(net(x[i]), y[i])
            loss.backward()
            optimizer.step()
        score = accuracy(net, vx, vy)
    probe = x[:1000], y[:1000]
    return {"score": score, "metric": "top-1 accuracy", "doctor": doctor, "probe": probe, "test": (vx, vy)}
