"""Segmentation of scenes into five classes, with images and annotations brought to the size of the network.

Source: https://github.com/divamgupta/image-segmentation-keras/issues/11 (Keras; the same in PyTorch)
Cause: the annotation, an image of class indices, is resized by linear interpolation, as the image is: wherever class 0
meets class 4, pixels become class 1, 2 or 3.
Fix: resize annotations by the nearest neighbor.
New cause: labels-interpolated: class indices are averaged, and become indices of classes that are not there.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

TRUTH = ("label-noise", "labels-interpolated")
CLASSES, FULL, SIZE = 5, 48, 32


def scenes(n, seed):
    """Return images (N, 3, FULL, FULL) of thin and thick bars in class colors on a gray ground, and annotations."""
    rng = np.random.default_rng(seed)
    colors = np.array([[0.5, 0.5, 0.5], [0.8, 0.4, 0.3], [0.3, 0.7, 0.4], [0.3, 0.4, 0.8], [0.8, 0.7, 0.2]])
    yy, xx = np.mgrid[:FULL, :FULL]
    seg = np.zeros((n, FULL, FULL), dtype=np.int64)
    for one in seg:
        for c in rng.permutation(CLASSES - 1)[:3] + 1:
            angle, thick = rng.uniform(0, np.pi), rng.uniform(1.5, 4)
            cx, cy = rng.uniform(8, FULL - 8, size=2)
            along = (xx - cx) * np.cos(angle) + (yy - cy) * np.sin(angle)
            across = (yy - cy) * np.cos(angle) - (xx - cx) * np.sin(angle)
            one[(abs(across) < thick) & (abs(along) < rng.uniform(8, 18))] = c
    images = colors[seg] + rng.normal(0, 0.18, (n, FULL, FULL, 3))
    return torch.from_numpy(images).float().permute(0, 3, 1, 2), torch.from_numpy(seg)


def get_image_arr(images, width, height):
    return F.interpolate(images, (height, width), mode="bilinear", align_corners=False) - 0.5


def get_segmentation_arr(seg, width, height, fixed):
    seg = seg[:, None].float()
    if fixed:
        seg = F.interpolate(seg, (height, width), mode="nearest-exact")
    else:
        seg = F.interpolate(seg, (height, width), mode="bilinear", align_corners=False).round()
    return seg[:, 0].long()


class FCN(nn.Module):
    def __init__(self, n_classes):
        super().__init__()
        self.block1 = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()
        )
        self.block2 = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU())
        self.score1, self.score2 = nn.Conv2d(16, n_classes, 1), nn.Conv2d(32, n_classes, 1)

    def forward(self, x):
        fine = self.block1(x)
        return self.score1(fine) + F.interpolate(self.score2(self.block2(fine)), scale_factor=2)


def mean_iou(prediction, seg):
    ious = []
    for c in range(CLASSES):
        both, either = ((prediction == c) & (seg == c)).sum(), ((prediction == c) | (seg == c)).sum()
        ious.append((both / either).item())
    return float(np.mean(ious))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (images, seg), (test_images, test_seg) = scenes(600, seed), scenes(150, 500 + seed)
    x, y = get_image_arr(images, SIZE, SIZE), get_segmentation_arr(seg, SIZE, SIZE, fixed)
    tx, ty = get_image_arr(test_images, SIZE, SIZE), get_segmentation_arr(test_seg, SIZE, SIZE, fixed)
    loader = DataLoader(TensorDataset(x, y), batch_size=20, shuffle=True)
    model = FCN(CLASSES)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.CrossEntropyLoss(), optimizer) as doctor:
        for _ in range(8):
            for image, annotation in loader:
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(image), annotation)
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        prediction = model(tx).argmax(1)
    score = mean_iou(prediction, get_segmentation_arr(test_seg, SIZE, SIZE, True))
    metric = "mean IoU with annotations as drawn"
    return {"score": score, "metric": metric, "doctor": doctor, "probe": (x, y), "test": (tx, ty)}
