"""A small nested U-Net whose images are divided by 255 two times.

Source: https://github.com/4uiiurz1/pytorch-nested-unet/issues/62 (also pkmital/pycadl#5, merged)
Cause: normalize() expects pixels from 0 to 255 and divides them; the data set divides once more. All inputs are nearly
the same number, and their differences are close to the eps of batch norm.
Fix: divide once.
"""

import torch
from torch import nn

from benchmarks.cases.data import iou, toy_segmentation

TRUTH = ("inputs-not-scaled", "constant-inputs")


def normalize(img, mean=0.485, std=0.229, max_pixel_value=255.0):
    return (img - mean * max_pixel_value) / (std * max_pixel_value)


class VGGBlock(nn.Module):
    def __init__(self, a, b):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b)
        self.conv2, self.bn2 = nn.Conv2d(b, b, 3, padding=1), nn.BatchNorm2d(b)

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)))


class NestedUNet(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv0_0, self.conv1_0, self.conv2_0 = VGGBlock(1, c), VGGBlock(c, 2 * c), VGGBlock(2 * c, 4 * c)
        self.conv0_1, self.conv1_1 = VGGBlock(3 * c, c), VGGBlock(6 * c, 2 * c)
        self.conv0_2, self.final = VGGBlock(4 * c, c), nn.Conv2d(c, 1, 1)

    def forward(self, x):
        x0_0 = self.conv0_0(x)
        x1_0 = self.conv1_0(self.pool(x0_0))
        x0_1 = self.conv0_1(torch.cat([x0_0, self.up(x1_0)], 1))
        x2_0 = self.conv2_0(self.pool(x1_0))
        x1_1 = self.conv1_1(torch.cat([x1_0, self.up(x2_0)], 1))
        return self.final(self.conv0_2(torch.cat([x0_0, x0_1, self.up(x1_1)], 1)))


def dataset(n, seed, fixed):
    images, masks = toy_segmentation(n, seed=seed, noise=0.5)
    images = (images * 40 + 110).clamp(0, 255).round()  # pixels, as they are read from a file
    return normalize(images if fixed else images / 255), masks


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (vx, vy) = dataset(400, seed, fixed), dataset(150, seed + 100, fixed)
    model = NestedUNet()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2, momentum=0.9, weight_decay=1e-4)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for _ in range(3):
            model.train()
            for i in torch.randperm(len(x)).split(8):
                output = model(x[i])
                loss = doctor.loss_fn(output, y[i])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        model.eval()
        with torch.no_grad():
            score = iou(model(vx) > 0, vy)
    return {"score": score, "metric": "validation IoU", "doctor": doctor, "probe": (x, y), "test": (vx, vy)}
