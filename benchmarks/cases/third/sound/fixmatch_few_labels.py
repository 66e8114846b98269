"""FixMatch (Sohn et al. 2020): 200 labeled digits and 4000 without labels, whose confident predictions on weakly
changed pictures are what strongly changed pictures shall give.

A careless tool could take targets made by argmax for a cut graph, or a second loss that starts at 0 for a dead one.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import mnist


def transform(images, angle, scale, shift):
    """Rotate, scale and shift each picture at random up to the given bounds."""
    n = len(images)
    a = angle * (2 * torch.rand(n) - 1)
    s = 1 + scale * (2 * torch.rand(n) - 1)
    t = shift * (2 * torch.rand(n, 2) - 1)
    theta = torch.stack(
        [torch.stack([s * a.cos(), -s * a.sin(), t[:, 0]], 1), torch.stack([s * a.sin(), s * a.cos(), t[:, 1]], 1)], 1
    )
    return F.grid_sample(images, F.affine_grid(theta, list(images.shape), align_corners=False), align_corners=False)


def weak(images):
    return transform(images, 0.05, 0.0, 0.07)


def strong(images):
    changed = transform(images, 0.4, 0.15, 0.12)
    row, column = torch.randint(0, 20, (2, len(images), 1))
    place = torch.arange(28)
    hole = ((place >= row) & (place < row + 8))[:, :, None] & ((place >= column) & (place < column + 8))[:, None, :]
    return changed.masked_fill(hole.unsqueeze(1), 0)


class DigitNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.norm1, self.norm2 = nn.BatchNorm2d(16), nn.BatchNorm2d(32)
        self.fc1, self.fc2 = nn.Linear(32 * 49, 64), nn.Linear(64, 10)

    def forward(self, x):
        x = F.leaky_relu(self.norm1(self.conv1(x)), 0.1)
        x = F.leaky_relu(self.norm2(self.conv2(x)), 0.1)
        return self.fc2(F.leaky_relu(self.fc1(x.flatten(1)), 0.1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    images, labels, tx, ty = mnist(6000, 1000)
    chosen = torch.cat([(labels == c).nonzero().flatten()[:20] for c in range(10)])
    x, y = images[chosen], labels[chosen]
    unlabeled = images[2000:]
    threshold, weight, steps = 0.95, 1.0, 320

    model = DigitNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.03, momentum=0.9, nesterov=True, weight_decay=5e-4)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: float(torch.cos(torch.tensor(7 * 3.14159 * step / (16 * steps))))
    )
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for step in range(steps):
            model.train()
            few, many = torch.randint(len(x), (32,)), torch.randint(len(unlabeled), (96,))
            logits = model(torch.cat([weak(x[few]), weak(unlabeled[many]), strong(unlabeled[many])]))
            given, easy, hard = logits.split([32, 96, 96])
            confidence, guess = easy.detach().softmax(1).max(1)
            mask = (confidence >= threshold).float()
            supervised = doctor.loss_fn(given, y[few])
            consistency = (F.cross_entropy(hard, guess, reduction="none") * mask).mean()
            loss = supervised + weight * consistency
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            if (step + 1) % 80 == 0:
                model.eval()
                with torch.no_grad():
                    score = (model(tx).argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": None, "test": None}
