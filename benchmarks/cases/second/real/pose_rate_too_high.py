"""Pose of an animal by heatmaps, its learning rate too high for these pictures.

Source: https://github.com/DeepLabCut/DeepLabCut/issues/2922 (default lowered by DeepLabCut/DeepLabCut#2960)
Cause: a learning rate that suits other data sets is too aggressive here: the loss stays, to the fourth digit, at what
empty heatmaps cost, and no body part is ever found.
Fix: a learning rate ten times smaller.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches

TRUTH = ("lr-too-high", "dead-relu")

PARTS, SIZE = 4, 48


def frames(n: int, seed: int):
    """Return pictures (N, 3, S, S) of a walking animal and the places (N, PARTS, 2) of nose, neck, hip and tail."""
    g = torch.Generator().manual_seed(seed)
    start, angle = torch.rand(n, 2, generator=g) * 16 + 16, 6.28 * torch.rand(n, generator=g)
    places = [start]
    for length in (6.0, 9.0, 6.0):
        places.append(places[-1] + length * torch.stack([angle.sin(), angle.cos()], 1))
        angle = angle + 0.8 * torch.rand(n, generator=g) - 0.4
    places = torch.stack(places, 1)
    places = places - places.mean(1, keepdim=True) + SIZE / 2 + 8 * torch.rand(n, 1, 2, generator=g) - 4
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij"), 2)
    blobs = (-(grid - places[:, :, None, None]).square().sum(4) / torch.tensor([4.0, 6, 14, 3])[:, None, None]).exp()
    color = torch.tensor([[1.0, 0.3, 0.2], [0.4, 0.6, 0.2], [0.5, 0.5, 0.3], [0.2, 0.2, 0.8]])
    image = torch.einsum("npij,pc->ncij", blobs, color)
    return image + 0.3 * torch.randn(image.shape, generator=g), places


def heatmaps(places):
    grid = torch.stack(torch.meshgrid(torch.arange(SIZE // 4), torch.arange(SIZE // 4), indexing="ij"), 2)
    return (-(grid - places[:, :, None, None] / 4).square().sum(4) / 1.5).exp()


class Block(nn.Module):
    def __init__(self, a: int, b: int, stride: int):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(a, b, 3, stride, 1), nn.Conv2d(b, b, 3, 1, 1)
        self.skip = nn.Conv2d(a, b, 1, stride) if a != b or stride > 1 else nn.Identity()

    def forward(self, x):
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.skip(x))


def pose_net():
    return nn.Sequential(
        nn.Conv2d(3, 16, 5, 2, 2),
        nn.ReLU(),
        Block(16, 24, 2),
        *[Block(24, 24, 1) for _ in range(2)],
        Block(24, 32, 2),
        *[Block(32, 32, 1) for _ in range(5)],
        nn.ConvTranspose2d(32, 24, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(24, PARTS, 1),
    )


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, places), (tx, test_places) = frames(600, 1), frames(200, 2)
    y = heatmaps(places)
    model = pose_net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.002 if fixed else 0.02)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for i in batches(len(x), 8, 4, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i]), y[i])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        best = model(tx).flatten(2).argmax(2)
    found = 4 * torch.stack([best // (SIZE // 4), best % (SIZE // 4)], 2)
    score = ((found - test_places).norm(dim=2) < 5).float().mean().item()
    return {
        "score": score,
        "metric": "parts found within 5 pixels",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, heatmaps(test_places)),
    }
