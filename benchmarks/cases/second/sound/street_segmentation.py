"""Segmentation of three kinds of pixels (sky, road, cars), encoder and transposed convolutions, cross-entropy by pixel.

A careless tool could take the small share of pixels of cars, or outputs (B, 3, H, W), for a fault.
"""

import torch
import torch.nn as nn


def scenes(n, h=32, w=48):
    """Return color images and masks: 0 sky, 1 road below the horizon, 2 boxes of cars on it."""
    images, masks = torch.zeros(n, 3, h, w), torch.zeros(n, h, w, dtype=torch.long)
    horizon = torch.randint(10, 17, (n,)).tolist()
    for k in range(n):
        masks[k, horizon[k] :] = 1
        images[k, :, : horizon[k]] = torch.tensor([0.5, 0.65, 0.9])[:, None, None] + 0.1 * torch.randn(3, 1, 1)
        images[k, :, horizon[k] :] = torch.tensor([0.4, 0.4, 0.42])[:, None, None] + 0.08 * torch.randn(3, 1, 1)
        for _ in range(int(torch.randint(1, 4, (1,)))):
            tall, wide = int(torch.randint(5, 10, (1,))), int(torch.randint(6, 13, (1,)))
            top, left = int(torch.randint(horizon[k], h - 5, (1,))), int(torch.randint(0, w - 6, (1,)))
            masks[k, top : top + tall, left : left + wide] = 2
            images[k, :, top : top + tall, left : left + wide] = torch.rand(3, 1, 1)
    return images + 0.12 * torch.randn_like(images), masks


class SegNet(nn.Module):
    def __init__(self, n_classes=3):
        super().__init__()
        self.enc1 = self._block(3, 12)
        self.enc2 = self._block(12, 24)
        self.bottleneck = self._block(24, 24)
        self.pool = nn.MaxPool2d(2)
        self.up1 = nn.ConvTranspose2d(24, 24, 2, stride=2)
        self.dec1 = self._block(48, 16)
        self.up2 = nn.ConvTranspose2d(16, 12, 2, stride=2)
        self.dec2 = self._block(24, 12)
        self.classifier = nn.Conv2d(12, n_classes, kernel_size=1)

    @staticmethod
    def _block(cin, cout):
        return nn.Sequential(nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout), nn.ReLU(True))

    def forward(self, x):
        e1 = self.enc1(x)
        e2 = self.enc2(self.pool(e1))
        b = self.bottleneck(self.pool(e2))
        d1 = self.dec1(torch.cat([self.up1(b), e2], dim=1))
        d2 = self.dec2(torch.cat([self.up2(d1), e1], dim=1))
        return self.classifier(d2)


def mean_iou(pred, target, n_classes=3):
    ious = []
    for c in range(n_classes):
        inter = ((pred == c) & (target == c)).sum()
        union = ((pred == c) | (target == c)).sum()
        ious.append((inter / union).item())
    return sum(ious) / n_classes


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    train_x, train_y = scenes(600)
    val_x, val_y = scenes(150)
    model = SegNet()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, criterion, optimizer) as doctor:
        for _epoch in range(5):
            model.train()
            order = torch.randperm(len(train_x))
            for idx in order.split(12):
                pred = model(train_x[idx])
                loss = doctor.loss_fn(pred, train_y[idx])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    model.eval()
    with torch.no_grad():
        score = mean_iou(model(val_x).argmax(1), val_y)
    return {
        "score": score,
        "metric": "mean test IoU",
        "doctor": doctor,
        "probe": (train_x, train_y),
        "test": (val_x, val_y),
    }
