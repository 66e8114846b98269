"""One-stage detector whose class scores pass a sigmoid before the cross-entropy.

Source: https://github.com/eriklindernoren/PyTorch-YOLOv3/issues/108
Cause: pred_cls = sigmoid(...) goes into CrossEntropyLoss, which wants logits: the scores of all classes lie between 0
and 1, so that no class can get more than a small share and the loss never comes near 0.
Fix: give the raw predictions to the cross-entropy.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, fashion, mnist

TRUTH = ("activation-on-output", "sigmoid-before-loss", "softmax-before-loss")

CLASSES, GRID, SIZE = 20, 4, 40


def objects(n: int):
    """Return small pictures (N, 14, 14) of digits and clothes and their classes, 0 to 19, training and test."""
    x, y, tx, ty = mnist(n, 1000)
    fx, fy, ftx, fty = fashion(n, 1000)
    x, tx = torch.cat([x, fx]), torch.cat([tx, ftx])
    return F.avg_pool2d(x, 2)[:, 0], torch.cat([y, fy + 10]), F.avg_pool2d(tx, 2)[:, 0], torch.cat([ty, fty + 10])


def scenes(crops, labels, n: int, seed: int):
    """Return pictures (N, 1, 40, 40) with two objects, and for each cell: is there one, its offset, its class."""
    g = torch.Generator().manual_seed(seed)
    images, target = 0.1 * torch.rand(n, 1, SIZE, SIZE, generator=g), torch.zeros(n, GRID, GRID, 4)
    pick = torch.randint(len(crops), (n, 2), generator=g)
    for k in range(n):
        for part in range(2):
            row = int(torch.randint(0, SIZE // 2 - 13, (), generator=g)) + part * SIZE // 2
            col = int(torch.randint(0, SIZE - 13, (), generator=g))
            images[k, 0, row : row + 14, col : col + 14] += crops[pick[k, part]]
            cy, cx = (row + 7) / 10, (col + 7) / 10
            target[k, int(cy), int(cx)] = torch.tensor([1, cy % 1, cx % 1, labels[pick[k, part]].item()])
    return images, target


class TinyYolo(nn.Module):
    def __init__(self):
        super().__init__()
        layers, width = [], 1
        for out, stride in ((16, 2), (32, 2), (48, 1), (64, 2)):
            layers += [nn.Conv2d(width, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.LeakyReLU(0.1)]
            width = out
        self.backbone = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(GRID))
        self.head = nn.Conv2d(width, 3 + CLASSES, 1)

    def forward(self, x):
        return self.head(self.backbone(x)).permute(0, 2, 3, 1)


class YoloLoss(nn.Module):
    def __init__(self, fixed: bool):
        super().__init__()
        self.fixed = fixed
        self.mse_loss, self.bce_loss, self.ce_loss = nn.MSELoss(), nn.BCELoss(), nn.CrossEntropyLoss()

    def forward(self, prediction, target):
        mask = target[..., 0] > 0
        xy, pred_conf = torch.sigmoid(prediction[..., 1:3]), torch.sigmoid(prediction[..., 0])
        pred_cls = prediction[..., 3:] if self.fixed else torch.sigmoid(prediction[..., 3:])
        loss_xy = self.mse_loss(xy[mask], target[..., 1:3][mask])
        loss_conf = self.bce_loss(pred_conf, target[..., 0])
        loss_cls = self.ce_loss(pred_cls[mask], target[..., 3][mask].long())
        return 5 * loss_xy + loss_conf + loss_cls


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    crops, labels, test_crops, test_labels = objects(4000)
    (x, y), (tx, ty) = scenes(crops, labels, 1600, seed), scenes(test_crops, test_labels, 400, seed + 100)
    model = TinyYolo()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    with watch(model, YoloLoss(fixed), optimizer) as doctor:
        for i in batches(len(x), 20, 6, seed):
            loss = doctor.loss_fn(model(x[i]), y[i])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        out = model(tx)
    there = ty[..., 0] > 0
    right = (out[..., 0] > 0) & (out[..., 3:].argmax(-1) == ty[..., 3])
    score = right[there].float().mean().item()
    return {
        "score": score,
        "metric": "objects found with the right class",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
