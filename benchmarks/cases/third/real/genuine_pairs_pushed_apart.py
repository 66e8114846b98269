"""Verification of signatures by a siamese network, for writers that it has never seen.

Source: https://github.com/VinhLoiIT/signet-pytorch/issues/2
Cause: the loss pulls pairs with y = 0 together and pushes those with y = 1 apart, while the data set labels two genuine
signatures with 1 and a genuine and a forged one with 0.
Fix: swap y and 1 - y in the loss.
New cause: labels-swapped: the loss takes the labels to mean the opposite of what the data set means by them.
"""

import torch
from torch import nn

TRUTH = ("loss-sign", "wrong-loss", "labels-swapped")
H, W = 24, 36


def draw(shape):
    """Draw signatures (N, 1, H, W): dark curves, each the sum of a few waves (N, 2, K, 3)."""
    t = torch.linspace(0, 1, 48)
    amplitude, frequency, phase = shape[..., 0:1], shape[..., 1:2], shape[..., 2:3]
    wave = (amplitude * torch.sin(6.28 * (frequency * t + phase))).sum(2)  # (N, 2, T)
    x = 4 + (W - 8) * t + 2.5 * wave[:, 0]
    y = H / 2 + 5 * wave[:, 1]
    near_x = (-(torch.arange(W).float() - x[:, :, None]).square() / 1.2).exp()
    near_y = (-(torch.arange(H).float() - y[:, :, None]).square() / 1.2).exp()
    return (near_y[:, :, :, None] * near_x[:, :, None, :]).amax(1)[:, None]


def pairs(writers, each, seed):
    """Return two stacks of images and y: 1 for two genuine signatures, 0 for a genuine and a forged one."""
    g = torch.Generator().manual_seed(seed)
    scale, shift = torch.tensor([0.9, 3.0, 1.0]), torch.tensor([0.2, 0.5, 0.0])
    own = torch.rand(writers, 2, 3, 3, generator=g) * scale + shift
    own = own.repeat_interleave(each, 0)
    y = (torch.arange(len(own)) % 2).float()
    hand = torch.tensor([0.05, 0.05, 0.015])
    first = own + hand * torch.randn(own.shape, generator=g)
    second = own + hand * torch.randn(own.shape, generator=g)
    forger = torch.tensor([0.25, 0.3, 0.08]) * torch.randn(own.shape, generator=g)
    second = second + (1 - y)[:, None, None, None] * forger
    return draw(first), draw(second), y


class ContrastiveLoss(nn.Module):
    def __init__(self, alpha, beta, margin, fixed):
        super().__init__()
        self.alpha, self.beta, self.margin, self.fixed = alpha, beta, margin, fixed

    def forward(self, x1, x2, y):
        distance = torch.pairwise_distance(x1, x2, p=2)
        if self.fixed:
            y = 1 - y
        loss = self.alpha * (1 - y) * distance**2 + self.beta * y * (
            torch.max(torch.zeros_like(distance), self.margin - distance) ** 2
        )
        return torch.mean(loss)


class SigNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Dropout2d(p=0.1),
            nn.Conv2d(16, 32, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Flatten(1, -1),
            nn.Linear(3 * 4 * 32, 96),
            nn.ReLU(),
            nn.Linear(96, 32),
        )

    def forward(self, x1, x2):
        return self.features(x1), self.features(x2)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    a, b, y = pairs(120, 12, seed)
    ta, tb, ty = pairs(40, 10, seed + 50)
    model = SigNet()
    criterion = ContrastiveLoss(alpha=1, beta=1, margin=1, fixed=fixed)
    optimizer = torch.optim.RMSprop(model.parameters(), lr=3e-4, eps=1e-8, weight_decay=5e-4, momentum=0.9)
    with watch(model, criterion, optimizer) as doctor:
        for _ in range(5):
            model.train()
            for i in torch.randperm(len(a)).split(24):
                optimizer.zero_grad()
                x1, x2 = model(a[i], b[i])
                loss = doctor.loss_fn(x1, x2, y[i])
                loss.backward()
                optimizer.step()
    model.eval()
    with torch.no_grad():
        distance = torch.pairwise_distance(*model(ta, tb))
    closer = distance[ty == 1][:, None] < distance[ty == 0]
    score = closer.float().mean().item()
    return {"score": score, "metric": "AUC of the distance", "doctor": doctor, "probe": None, "test": None}
