"""Axons and the myelin around them, segmented in microscopy by a small U-Net.

Source: https://github.com/ivadomed/ivadomed/pull/837 (issue #836)
Cause: the evaluation lists the files of the ground truth in the order in which they are found, not in that of
target_suffix: predictions of axons are compared with myelin, and those of myelin with axons.
Fix: list them in the order of target_suffix.
"""

import torch
from torch import nn

TRUTH = ("metric-wrong", "train-test-mismatch")
TARGET_SUFFIX = ["_seg-myelin-manual", "_seg-axon-manual"]


def microscopy(n, seed, size=32):
    """Return images (N, 1, S, S) and a dict of masks (N, S, S) by suffix: bright disks within dark rings."""
    g = torch.Generator().manual_seed(seed)
    axis = torch.arange(size).float()
    image = 0.5 + 0.15 * torch.randn(n, size, size, generator=g)
    axon, myelin = torch.zeros(n, size, size, dtype=torch.bool), torch.zeros(n, size, size, dtype=torch.bool)
    for _ in range(3):
        x, y = torch.rand(2, n, 1, 1, generator=g) * (size - 10) + 5
        inner = torch.rand(n, 1, 1, generator=g) * 2.5 + 1.5
        outer = inner + 1.2 + torch.rand(n, 1, 1, generator=g) * 1.5
        away = ((axis[None, None] - x) ** 2 + (axis[None, :, None] - y) ** 2).sqrt()
        free = ~(axon | myelin)
        axon |= free & (away < inner)
        myelin |= free & (away >= inner) & (away < outer)
    image = image + 0.25 * axon - 0.35 * myelin
    return image[:, None], {"_seg-axon-manual": axon.float(), "_seg-myelin-manual": myelin.float()}


def block(a, b):
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(),
        nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(),
    )  # fmt: skip


class Unet(nn.Module):
    def __init__(self, out_channel=2, c=10):
        super().__init__()
        self.down1, self.down2, self.bottom = block(1, c), block(c, 2 * c), block(2 * c, 2 * c)
        self.up2, self.up1 = block(4 * c, c), block(2 * c, c)
        self.final = nn.Conv2d(c, out_channel, 1)
        self.pool, self.upsample = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        h = self.bottom(self.pool(b))
        h = self.up2(torch.cat([self.upsample(h), b], 1))
        h = self.up1(torch.cat([self.upsample(h), a], 1))
        return self.final(h).sigmoid()


class DiceLoss(nn.Module):
    def forward(self, prediction, target):
        both = (prediction * target).sum((2, 3))
        return 1 - ((2 * both + 1) / (prediction.sum((2, 3)) + target.sum((2, 3)) + 1)).mean()


def dice(prediction, truth):
    return (2 * (prediction * truth).sum() / (prediction.sum() + truth.sum())).item()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, files), (tx, test_files) = microscopy(600, seed + 5), microscopy(150, seed + 600)
    y = torch.stack([files[suffix] for suffix in TARGET_SUFFIX], 1)
    model = Unet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, DiceLoss(), optimizer) as doctor:
        model.train()
        for _ in range(6):
            for i in torch.randperm(len(x)).split(20):
                loss = doctor.loss_fn(model(x[i]), y[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    model.eval()
    with torch.no_grad():
        prediction = (model(tx) > 0.5).float()
    derivatives = sorted(test_files)  # as a folder lists them
    if fixed:
        derivatives = TARGET_SUFFIX
    truth = torch.stack([test_files[name] for name in derivatives], 1)
    scores = [dice(prediction[:, c], truth[:, c]) for c in range(len(TARGET_SUFFIX))]
    score = sum(scores) / len(scores)
    return {"score": score, "metric": "mean Dice told", "doctor": doctor, "probe": (x, y), "test": (tx, truth)}
