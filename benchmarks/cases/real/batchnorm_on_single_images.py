"""U-Net with batch norm, trained on one image at a time.

Source: https://github.com/wolny/pytorch-3dunet/issues/53 (also pytorch/pytorch#4741)
Cause: with batches of one image, batch norm uses the mean and variance of that image in training, but running averages
over all images, which fit none, in evaluation.
Fix: group norm, which does not depend on the batch.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, iou, toy_segmentation

TRUTH = ("batchnorm-small-batch",)


def scans(n: int, seed: int):
    """Return images, each with a brightness and contrast of its own, as different scanners make them, and masks."""
    x, y = toy_segmentation(n, seed=seed)
    g = torch.Generator().manual_seed(seed + 1)
    contrast, brightness = torch.rand(n, 1, 1, 1, generator=g) * 3 + 0.3, torch.randn(n, 1, 1, 1, generator=g)
    return contrast * x + brightness, y


class UNet(nn.Module):
    def __init__(self, fixed: bool, c: int = 8):
        super().__init__()

        def block(a, b):
            norm = nn.GroupNorm(4, b) if fixed else nn.BatchNorm2d(b)
            return nn.Sequential(nn.Conv2d(a, b, 3, padding=1), norm, nn.ReLU())

        self.down1, self.down2, self.bottom = block(1, c), block(c, 2 * c), block(2 * c, 2 * c)
        self.up2, self.up1 = block(4 * c, c), block(2 * c, c)
        self.out = nn.Conv2d(c, 1, 1)
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2)

    def forward(self, x):
        a = self.down1(x)
        b = self.down2(self.pool(a))
        c = self.up2(torch.cat([b, self.up(self.bottom(self.pool(b)))], 1))
        return self.out(self.up1(torch.cat([a, self.up(c)], 1)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = scans(700, seed), scans(200, seed + 100)
    model, criterion = UNet(fixed), nn.BCEWithLogitsLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, criterion, optimizer) as doctor:
        model.train()
        for i in batches(len(x), 1, 1, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            score = iou(model(tx) > 0, ty)
    return {"score": score, "metric": "test IoU", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
