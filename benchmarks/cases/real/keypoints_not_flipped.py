"""Random flips that mirror the image and leave its keypoints.

Source: https://github.com/open-mmlab/mmcv/issues/2526 (also sleap-nn#649, open-mmlab/mmdetection#3106)
Cause: the transform computes the mirrored keypoints, but returns the old ones: in half of the training samples the
keypoints belong to another image.
Fix: return the mirrored keypoints.
"""

import torch
from torch import nn

from benchmarks.cases.data import r2

TRUTH = ("data-mispaired",)
SIZE = 32


def hands(n, seed):
    """Return noisy images (N, 3, S, S) of three colored points, and their places (N, 3, 2) as x, y from 0 to 1."""
    g = torch.Generator().manual_seed(seed)
    points = 0.1 + 0.8 * torch.rand(n, 3, 2, generator=g)
    axis = torch.linspace(0, 1, SIZE)
    x, y = (((axis - points[:, :, d, None]) / 0.06).square().div(-2).exp() for d in (0, 1))
    return y[:, :, :, None] * x[:, :, None, :] + 0.1 * torch.randn(n, 3, SIZE, SIZE, generator=g), points


def random_flip(images, points, fixed):
    chosen = torch.rand(len(images)) < 0.5
    images = torch.where(chosen[:, None, None, None], images.flip(3), images)
    flipped = torch.stack([1 - points[:, :, 0], points[:, :, 1]], 2)
    return images, torch.where(chosen[:, None, None], flipped, points) if fixed else points


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (images, points), test = hands(2000, 1), hands(500, 2)
    model = nn.Sequential(
        nn.Conv2d(3, 16, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(2048, 32),
        nn.ReLU(),
        nn.Linear(32, 6),
        nn.Unflatten(1, (3, 2)),
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, nn.SmoothL1Loss(), optimizer) as doctor:
        for _ in range(10):
            for i in torch.randperm(len(images)).split(50):
                batch, wanted = random_flip(images[i], points[i], fixed)
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(batch), wanted)
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        score = r2(model(test[0]), test[1])
    probe = random_flip(images, points, fixed)
    return {"score": score, "metric": "test R2 of the keypoints", "doctor": doctor, "probe": probe, "test": test}
