"""SimSiam (Chen, He 2021): two views, a predictor, and the negative cosine to the other view's detached projection.

A careless tool could take the detached targets for a cut graph, or a loss from 0 to -1 for a wrong sign.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import r2


def negative_cosine(p, z):
    return -F.cosine_similarity(p, z.detach(), dim=1).mean()


class SimSiam(nn.Module):
    def __init__(self, width=64, code=16):
        super().__init__()
        layers = [
            nn.Linear(40, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
        ]
        self.encoder = nn.Sequential(*layers, nn.ReLU(), nn.Linear(width, code), nn.BatchNorm1d(code, affine=False))
        self.predictor = nn.Sequential(nn.Linear(code, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, code))

    def forward(self, a, b):
        za, zb = self.encoder(a), self.encoder(b)
        return self.predictor(za), self.predictor(zb), za, zb


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    what, style = torch.randn(4000, 3), torch.randn(4000, 2, 12)
    mix, tint = torch.randn(3, 40), torch.randn(12, 40)
    views = torch.tanh(what @ mix)[:, None] + 0.6 * style @ tint / 12**0.5
    model = SimSiam()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4)
    with watch(model, negative_cosine, optimizer) as doctor:
        for _ in range(600):
            i = torch.randint(3000, (128,))
            pa, pb, za, zb = model(views[i, 0], views[i, 1])
            loss = doctor.loss_fn(pa, zb) / 2 + doctor.loss_fn(pb, za) / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        codes = F.pad(model.encoder(views[:, 0]), (0, 1), value=1.0)
    fit = torch.linalg.lstsq(codes[:3000], what[:3000]).solution
    score = r2(codes[3000:] @ fit, what[3000:])
    return {"score": score, "metric": "R2 of what both views share", "doctor": doctor, "probe": None, "test": None}
