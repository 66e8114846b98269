"""Depth from images with a weight decay of 0.05.

Source: https://github.com/tinghuiz/SfMLearner/issues/34
Cause: a weight decay of 0.05 was taken over from a program in which it had never taken effect. Here it does, and the
weights go to 0: the same depth everywhere.
Fix: a weight decay of the usual size (5e-4 or none).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, r2, toy_segmentation

TRUTH = ("over-regularized",)


class DisparityNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.down1, self.down2 = nn.Conv2d(1, 16, 5, 2, 2), nn.Conv2d(16, 32, 3, 2, 1)
        self.up1, self.up2 = nn.ConvTranspose2d(32, 16, 4, 2, 1), nn.ConvTranspose2d(32, 8, 4, 2, 1)
        self.disparity = nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, x):
        half = F.relu(self.down1(x))
        up = F.relu(self.up1(F.relu(self.down2(half))))
        return torch.sigmoid(self.disparity(F.relu(self.up2(torch.cat([up, half], 1)))))


def scenes(n, seed):
    """Return images (N, 1, 32, 32) of an object in a room, and the disparity: near objects are large."""
    image, mask = toy_segmentation(n, seed=seed, noise=0.2)
    size = mask.mean((1, 2, 3), keepdim=True)
    floor = torch.linspace(0.05, 0.25, 32)[:, None]
    return image, torch.where(mask.bool(), 0.3 + 2 * size, floor)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = scenes(1000, 1), scenes(200, 2)
    model = DisparityNet()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, weight_decay=0.0005 if fixed else 0.05)
    with watch(model, nn.L1Loss(), optimizer) as doctor:
        for i in batches(len(x), 10, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = r2(model(tx), ty)
    return {"score": score, "metric": "test R2 of the disparity", "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
