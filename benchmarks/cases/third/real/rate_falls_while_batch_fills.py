"""Tracker that regresses where an object of the last frame is in the new one, in batches that fill up image by image.

Source: https://github.com/amoudgl/pygoturn/issues/16
Cause: the rate is to fall by 10 every so many iterations. The test stands in the loop that collects samples, and the
iteration does not advance until the batch is full: the rate falls by 10 for each image that goes into that batch.
Fix: test it when a batch is done.
"""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("schedule-collapsed", "lr-too-low")
SIDE, PER_IMAGE, BATCH = 24, 11, 44


def scenes(n: int, seed: int):
    """Return pictures (N, 1, 64, 64) with one object on a cluttered ground, and its box (N, 4)."""
    g = torch.Generator().manual_seed(seed)
    ground = F.interpolate(torch.randn(n, 1, 16, 16, generator=g), size=64, mode="bilinear") * 0.4
    center, half = 22 + 20 * torch.rand(n, 2, generator=g), 4 + 4 * torch.rand(n, 2, generator=g)
    place = torch.arange(64)
    inside = ((place - center[:, :1]).abs() < half[:, :1])[:, None, :] & ((place - center[:, 1:]).abs() < half[:, 1:])[
        :, :, None
    ]
    stripes = 1 + 0.5 * torch.sin(place * (0.4 + torch.rand(n, 1, generator=g)))
    image = torch.where(inside, stripes[:, None], ground[:, 0])[:, None] + 0.1 * torch.randn(n, 1, 64, 64, generator=g)
    return image, torch.cat([center - half, center + half], 1)


def crop(image, box):
    """Cut a window of twice the box's size around it out of an image (1, 64, 64)."""
    center, size = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    theta = torch.zeros(1, 2, 3)
    theta[0, 0, 0], theta[0, 1, 1] = size / 32
    theta[0, :, 2] = center / 32 - 1
    grid = F.affine_grid(theta, (1, 1, SIDE, SIDE), align_corners=False)
    return F.grid_sample(image[None], grid, align_corners=False)[0]


def make_training_samples(image, box, g):
    """Return windows of last and new frame (PER_IMAGE, 2, SIDE, SIDE), and the box in the new one, from 0 to 10."""
    pairs, wanted = [], []
    size = box[2:] - box[:2]
    for _ in range(PER_IMAGE):
        shift = size * (torch.rand(2, generator=g) - 0.5) * 0.8
        scale = size * (torch.rand(2, generator=g) - 0.5) * 0.4
        last = box + torch.cat([shift - scale / 2, shift + scale / 2])
        pairs.append(torch.cat([crop(image, box), crop(image, last)]))
        corner = (last[:2] + last[2:]) / 2 - (last[2:] - last[:2])
        wanted.append(10 * (box.view(2, 2) - corner).div(2 * (last[2:] - last[:2])).flatten())
    return torch.stack(pairs), torch.stack(wanted)


class GoNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.convnet = nn.Sequential(
            nn.Conv2d(1, 16, 5, 2, 2), nn.ReLU(), nn.Conv2d(16, 24, 3, 2, 1), nn.ReLU(),
            nn.Conv2d(24, 24, 3, 2, 1), nn.ReLU(), nn.Flatten(),
        )  # fmt: skip
        self.classifier = nn.Sequential(
            nn.Linear(2 * 24 * 9, 96), nn.ReLU(), nn.Dropout(0.1), nn.Linear(96, 96), nn.ReLU(), nn.Linear(96, 4)
        )
        for layer in [*self.convnet, *self.classifier]:
            if hasattr(layer, "weight"):
                nn.init.kaiming_normal_(layer.weight)

    def forward(self, x):
        return self.classifier(torch.cat([self.convnet(x[:, :1]), self.convnet(x[:, 1:])], 1))


def overlap(a, b):
    low, high = torch.maximum(a[:, :2], b[:, :2]), torch.minimum(a[:, 2:], b[:, 2:])
    both = (high - low).clamp(min=0).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (a, b)]
    return both / (areas[0] + areas[1] - both)


def run(fixed: bool, watch, seed: int = 0, num_batches: int = 250, lr_decay_step: int = 50, gamma: float = 0.1):
    torch.manual_seed(seed)
    g = torch.Generator().manual_seed(seed)
    images, boxes = scenes(300, seed)
    pool = [make_training_samples(image, box, g) for image, box in zip(images, boxes, strict=True)]
    tests = [make_training_samples(image, box, g) for image, box in zip(*scenes(40, seed + 100), strict=True)]
    tx, ty = (torch.cat(part) for part in zip(*tests, strict=True))
    model = GoNet()
    lr = 0.01
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=0.0005)
    running, itr = [], 0

    def exp_lr_scheduler(lr):
        for group in optimizer.param_groups:
            group["lr"] = lr * gamma
        return lr * gamma

    with watch(model, nn.L1Loss(), optimizer) as doctor:
        while itr < num_batches:
            model.train()
            if not fixed and itr > 0 and itr % lr_decay_step == 0:
                lr = exp_lr_scheduler(lr)
            running.append(pool[torch.randint(len(pool), (1,)).item()])
            done = len(running) * PER_IMAGE >= BATCH
            if done:
                x, y = (torch.cat(part) for part in zip(*running, strict=True))
                running = []
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
                itr += 1
                if fixed and itr % lr_decay_step == 0:
                    lr = exp_lr_scheduler(lr)
    model.eval()
    with torch.no_grad():
        score = (overlap(model(tx), ty) > 0.6).float().mean().item()
    x, y = (torch.cat(part) for part in zip(*pool[:60], strict=True))
    return {
        "score": score,
        "metric": "boxes with IoU above 0.6",
        "doctor": doctor,
        "probe": (x, y),
        "test": (tx, ty),
    }
