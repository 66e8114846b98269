"""Hair segmentation with a loss that aligns edges of mask and picture, computed on the argmax.

Source: https://github.com/wonbeomjang/mobile-hair-segmentation-pytorch/issues/3
Cause: the mask in the image-gradient loss is pred.argmax(1).float(), which has no gradient: the term is added to the
cross-entropy and moves nothing.
Fix: the channel of hair itself, pred[:, 1] (its probability here).
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, iou

TRUTH = ("graph-cut",)


def portraits(n: int, seed: int, size: int = 32):
    """Return pictures (N, 3, S, S), coarse masks as people draw them, and exact ones (N, S, S)."""
    g = torch.Generator().manual_seed(seed)
    yy, xx = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    cx, cy = 16 + 6 * torch.rand(2, n, 1, 1, generator=g) - 3
    wave = 2.5 * torch.sin(xx / 1.6 + 6.28 * torch.rand(n, 1, 1, generator=g))
    outer = ((xx - cx) / 11) ** 2 + ((yy - cy + wave) / 11) ** 2 < 1
    face = ((xx - cx) / 6) ** 2 + ((yy - cy - 3) / 8) ** 2 < 1
    exact = (outer & ~face).long()
    hair = torch.rand(n, 3, 1, 1, generator=g) * 0.5
    skin, wall = torch.tensor([0.9, 0.7, 0.6])[:, None, None], 0.6 + 0.4 * torch.rand(n, 3, 1, 1, generator=g)
    image = torch.where(face[:, None], skin, torch.where(outer[:, None], hair, wall))
    coarse = F.avg_pool2d(exact[:, None].float(), 4)
    coarse = F.interpolate((coarse > 0.5).float(), scale_factor=4)[:, 0].long()
    return image + 0.05 * torch.randn(image.shape, generator=g), coarse, exact


class ImageGradientLoss(nn.Module):
    """Where the mask changes, the picture should change in the same direction."""

    def __init__(self, fixed: bool):
        super().__init__()
        self.fixed = fixed
        sobel = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]])
        self.register_buffer("kernels", torch.stack([sobel, sobel.T])[:, None])

    def forward(self, pred, gray_image):
        hair = pred.softmax(1)[:, 1:2] if self.fixed else pred.argmax(1, keepdim=True).float()
        image, mask = F.conv2d(gray_image, self.kernels, padding=1), F.conv2d(hair, self.kernels, padding=1)
        image = image / (image.norm(dim=1, keepdim=True) + 1e-2)
        size = mask.square().sum(1).add(1e-6).sqrt()
        along = (image * (mask / size[:, None])).sum(1)
        return (size * (1 - along.square())).sum() / size.sum()


class MobileHairNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.down = nn.Sequential(nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1), nn.ReLU())
        self.up = nn.Sequential(nn.Upsample(scale_factor=4), nn.Conv2d(32, 16, 3, padding=1), nn.ReLU())
        self.last = nn.Sequential(nn.Conv2d(32, 16, 1), nn.ReLU(), nn.Conv2d(16, 2, 1))

    def forward(self, x):
        skip = self.first(x)
        return self.last(torch.cat([skip, self.up(self.down(skip))], 1))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y, _), (tx, _, exact) = portraits(600, 1), portraits(200, 2)
    net, edges = MobileHairNet(), ImageGradientLoss(fixed)

    def hair_mat_loss(pred, batch):
        image, mask = batch
        return F.cross_entropy(pred, mask) + 0.5 * edges(pred, image.mean(1, keepdim=True))

    optimizer = torch.optim.Adam(net.parameters(), lr=2e-3)
    with watch(net, hair_mat_loss, optimizer) as doctor:
        for i in batches(len(x), 10, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(net(x[i]), (x[i], y[i]))
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = iou(net(tx).argmax(1), exact)
    return {"score": score, "metric": "IoU with the exact masks", "doctor": doctor, "probe": None, "test": None}
