"""Five joints of a stick figure: the network gives a heatmap for each, compared with Gaussian spots by MSE.

A careless tool could take targets that are nearly everywhere 0, or a loss below 0.02 from the start, for a fault.
"""

import torch
from torch import nn

SIZE, OUT = 32, 16
JOINTS = ["head", "left hand", "right hand", "left foot", "right foot"]


def figures(n):
    """Return pictures (N, 1, 32, 32) and joints (N, 5, 2) in pixels, as x and y."""
    hip = torch.stack([12 + 8 * torch.rand(n), 15 + 3 * torch.rand(n)], 1)
    neck = hip + torch.stack([4 * torch.rand(n) - 2, -7 + 2 * torch.rand(n)], 1)
    head = neck + torch.stack([2 * torch.rand(n) - 1, -3 * torch.ones(n)], 1)
    side = torch.tensor([-1.0, 1.0])
    hands = [neck + torch.stack([s * (5 + 4 * torch.rand(n)), 9 * torch.rand(n) - 4], 1) for s in side]
    feet = [hip + torch.stack([s * (2 + 4 * torch.rand(n)), 7 + 4 * torch.rand(n)], 1) for s in side]
    joints = torch.stack([head, *hands, *feet], 1)
    axis = torch.arange(SIZE).float()
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    image = torch.zeros(n, SIZE, SIZE)
    for a, b in [(hip, neck), (neck, hands[0]), (neck, hands[1]), (hip, feet[0]), (hip, feet[1])]:
        a, along = a[:, None, None], (b - a)[:, None, None]
        where = (((grid - a) * along).sum(-1) / along.square().sum(-1)).clamp(0, 1)
        distance = (grid - a - where[..., None] * along).norm(dim=-1)
        image = torch.maximum(image, torch.exp(-(distance**2)))
    image = torch.maximum(image, torch.sigmoid(4 * (2.2 - (grid - head[:, None, None]).norm(dim=-1))))
    return (image + 0.2 * torch.randn_like(image)).unsqueeze(1), joints


def to_heatmaps(joints, sigma=1.0):
    axis = torch.arange(OUT).float()
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1)
    center = (joints * OUT / SIZE)[:, :, None, None]
    return torch.exp(-(grid - center).square().sum(-1) / (2 * sigma**2))


def from_heatmaps(heatmaps):
    at = heatmaps.flatten(2).argmax(2)
    return torch.stack([at % OUT, at // OUT], -1) * SIZE / OUT


class PoseNet(nn.Module):
    def __init__(self, n_joints):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, 32, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
            nn.Conv2d(32, 32, 3, padding=2, dilation=2, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(inplace=True),
        )
        self.deconv = nn.Sequential(
            nn.ConvTranspose2d(32, 32, 4, stride=2, padding=1, bias=False), nn.BatchNorm2d(32), nn.ReLU(inplace=True)
        )
        self.final_layer = nn.Conv2d(32, n_joints, 1)

    def forward(self, x):
        return self.final_layer(self.deconv(self.backbone(x)))


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (images, joints), (test_images, test_joints) = figures(2000), figures(300)
    heatmaps = to_heatmaps(joints)
    model = PoseNet(len(JOINTS))
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, step_size=5, gamma=0.2)
    with watch(model, nn.MSELoss(), optimizer) as doctor:
        for _epoch in range(7):
            model.train()
            for idx in torch.randperm(len(images)).split(25):
                optimizer.zero_grad()
                loss = doctor.loss_fn(model(images[idx]), heatmaps[idx])
                loss.backward()
                optimizer.step()
            scheduler.step()
    model.eval()
    with torch.no_grad():
        found = from_heatmaps(model(test_images))
    score = ((found - test_joints).norm(dim=-1) < 3).float().mean().item()
    return {
        "score": score,
        "metric": "joints within 3 pixels",
        "doctor": doctor,
        "probe": (images, heatmaps),
        "test": (test_images, to_heatmaps(test_joints)),
    }
