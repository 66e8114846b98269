"""Organs in scans by a Dice loss that applies softmax, and then sigmoid in each part.

Source: https://github.com/Hsuxu/Loss_ToolBox-PyTorch/issues/11
Cause: the Dice loss of several classes takes the softmax and gives each channel to the binary Dice loss, which applies
a sigmoid of its own: what reaches the formula lies between 0.5 and 0.73.
Fix: an option by which the binary loss leaves out its activation.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("softmax-before-loss", "sigmoid-before-loss", "activation-on-output")

ORGANS = 4


class BinaryDiceLoss(nn.Module):
    def forward(self, output, target, activation: bool = True):
        if activation:
            output = torch.sigmoid(output)
        output, target = output.flatten(1), target.flatten(1)
        overlap = (output * target).sum(1)
        return (1 - (2 * overlap + 1) / (output.sum(1) + target.sum(1) + 1)).mean()


class DiceLoss(nn.Module):
    def __init__(self, fixed: bool):
        super().__init__()
        self.dice, self.fixed = BinaryDiceLoss(), fixed

    def forward(self, output, label):
        target = F.one_hot(label, ORGANS).movedim(-1, 1).float()
        output = F.softmax(output, dim=1)
        losses = [self.dice(output[:, c], target[:, c], activation=not self.fixed) for c in range(ORGANS)]
        return sum(losses) / ORGANS


def scans(n: int, seed: int, size: int = 28):
    """Return scans (N, 1, S, S) and organs (N, S, S): one large, one middle, one small; the rest is 0."""
    g = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    label = torch.zeros(n, size, size, dtype=torch.long)
    for organ, (row, col, radius) in enumerate(((10, 9, 6), (19, 18, 4), (7, 21, 2)), 1):
        center = torch.tensor([row, col]) + 4 * torch.rand(n, 2, generator=g) - 2
        r = radius * (0.8 + 0.4 * torch.rand(n, 1, 1, generator=g))
        inside = (yy - center[:, 0, None, None]).square() + (xx - center[:, 1, None, None]).square() < r.square()
        label[inside] = organ
    tissue = torch.tensor([0.0, 0.5, 0.9, 0.6])
    return (tissue[label] + 0.3 * torch.randn(n, size, size, generator=g))[:, None], label


class UNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.enc = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.mid = nn.Sequential(
            nn.MaxPool2d(2),
            nn.Conv2d(12, 24, 3, padding=1),
            nn.BatchNorm2d(24),
            nn.ReLU(),
            nn.Conv2d(24, 24, 3, padding=1),
            nn.ReLU(),
        )
        self.up, self.out = nn.ConvTranspose2d(24, 12, 2, 2), nn.Conv2d(24, ORGANS, 3, padding=1)

    def forward(self, x):
        skip = self.enc(x)
        return self.out(torch.cat([self.up(self.mid(skip)), skip], 1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = scans(600, 1), scans(150, 2)
    model = UNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, DiceLoss(fixed), optimizer) as doctor:
        for i in batches(len(x), 8, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        guess = model(tx).argmax(1)
    dice = [2 * ((guess == c) & (ty == c)).sum() / ((guess == c).sum() + (ty == c).sum()) for c in range(1, ORGANS)]
    return {
        "score": torch.stack(dice).mean().item(),
        "metric": "test Dice of the organs",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
