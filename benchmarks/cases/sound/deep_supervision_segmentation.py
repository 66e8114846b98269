"""A segmentation network with outputs at three scales; each is compared with the mask, made smaller, by the same loss.

A careless tool could take three calls of the loss in one step for three steps, or the pooled masks for wrong targets.
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import batches, iou, toy_segmentation


class Net(nn.Module):
    def __init__(self, c=8):
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in ((1, c), (c, 2 * c), (2 * c, 2 * c))])
        self.ups = nn.ModuleList([nn.Conv2d(a, b, 3, padding=1) for a, b in ((4 * c, c), (2 * c, c))])
        self.heads = nn.ModuleList([nn.Conv2d(n, 1, 1) for n in (2 * c, c, c)])

    def forward(self, x):
        kept = []
        for stage in self.stages:
            x = stage(F.max_pool2d(x, 2) if kept else x).relu()
            kept.append(x)
        outputs = [self.heads[0](x)]
        for up, head, skip in zip(self.ups, self.heads[1:], kept[-2::-1], strict=True):
            x = up(torch.cat([F.interpolate(x, scale_factor=2), skip], 1)).relu()
            outputs.append(head(x))
        return outputs[::-1]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    (x, y), (tx, ty) = toy_segmentation(1000, seed=3), toy_segmentation(200, seed=4)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with watch(model, nn.BCEWithLogitsLoss(), optimizer) as doctor:
        for i in batches(len(x), 16, 3, seed):
            loss = 0.0
            for k, output in enumerate(model(x[i])):
                loss = loss + 0.5**k * doctor.loss_fn(output, F.avg_pool2d(y[i], 2**k))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = iou(model(tx)[0] > 0, ty)
    return {"score": score, "metric": "test IoU", "doctor": doctor, "probe": None, "test": None}
