"""How large is the cell? Its area from a noisy picture with specks, a CNN with one output, MSE of standardized areas.

A careless tool could take the noise of the pictures, or outputs that are squeezed to (B,), for a fault.
"""

import math

import torch
from torch import nn


def make_cells(n, size=40):
    axis = torch.arange(size).float()
    yy, xx = axis.view(1, size, 1), axis.view(1, 1, size)
    cy, cx = (12 + 16 * torch.rand(2, n, 1, 1)).unbind(0)
    a, b = (3 + 7 * torch.rand(2, n, 1, 1)).unbind(0)
    theta = math.pi * torch.rand(n, 1, 1)
    u = (xx - cx) * theta.cos() + (yy - cy) * theta.sin()
    v = (yy - cy) * theta.cos() - (xx - cx) * theta.sin()
    inside = torch.sigmoid(4 * (1 - (u / a) ** 2 - (v / b) ** 2))
    specks = (torch.rand(n, size, size) < 0.01).float()
    image = 0.15 + 0.6 * inside + 0.3 * specks + 0.12 * torch.randn(n, size, size)
    return image.clamp(0, 1).unsqueeze(1), (math.pi * a * b).view(n)


class AreaNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 8, 5, stride=2, padding=2),
            nn.BatchNorm2d(8),
            nn.LeakyReLU(0.1),
            nn.Conv2d(8, 16, 3, stride=2, padding=1),
            nn.BatchNorm2d(16),
            nn.LeakyReLU(0.1),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.BatchNorm2d(32),
            nn.LeakyReLU(0.1),
        )
        self.regressor = nn.Sequential(nn.Flatten(), nn.Linear(32 * 25, 64), nn.LeakyReLU(0.1), nn.Linear(64, 1))

    def forward(self, img):
        return self.regressor(self.features(img)).squeeze(-1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    images, areas = make_cells(3500)
    train_images, test_images = images[:3000], images[3000:]
    mu, sigma = areas[:3000].mean(), areas[:3000].std()
    targets = (areas - mu) / sigma
    train_targets, test_targets = targets[:3000], targets[3000:]

    model = AreaNet()
    mse = nn.MSELoss()
    opt = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, mse, opt) as doctor:
        for _ in range(8):
            model.train()
            perm = torch.randperm(len(train_images))
            for start in range(0, len(perm), 50):
                idx = perm[start : start + 50]
                opt.zero_grad()
                loss = doctor.loss_fn(model(train_images[idx]), train_targets[idx])
                loss.backward()
                opt.step()
    model.eval()
    with torch.no_grad():
        predicted = model(test_images) * sigma + mu
    wanted = areas[3000:]
    score = 1 - ((predicted - wanted) ** 2).mean() / wanted.var()
    return {
        "score": score.item(),
        "metric": "test R2",
        "doctor": doctor,
        "probe": (train_images, train_targets),
        "test": (test_images, test_targets),
    }
