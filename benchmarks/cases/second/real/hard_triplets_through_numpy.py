"""Face embedding whose hard triplets are picked through NumPy.

Source: https://github.com/liorshk/facenet_pytorch/issues/6
Cause: the embeddings of hard triplets are selected by out.data.numpy()[hard] and made variables again: the triplet loss
has no gradient, only the cross-entropy that is added to it.
Fix: out[hard].
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("graph-cut",)

PERSONS, PIXELS = 600, 16


def make_faces(seed: int):
    """Return a function that draws pictures (N, 1, 16, 16) of given persons in changing light and pose."""
    g = torch.Generator().manual_seed(seed)
    parts = torch.randn(12, 1, PIXELS, PIXELS, generator=g)
    parts = F.avg_pool2d(F.pad(parts, (2, 2, 2, 2), mode="circular"), 5, 1)
    parts = parts / parts.std((1, 2, 3), keepdim=True)
    persons, light = torch.randn(2 * PERSONS, 8, generator=g), parts[8:]

    def faces(who):
        face = torch.einsum("nk,kchw->nchw", persons[who], parts[:8]) / 8**0.5
        face = face + torch.einsum("nk,kchw->nchw", torch.randn(len(who), 4), light) * 0.7
        shift = torch.randint(-1, 2, (len(who), 2)).tolist()
        face = torch.stack([torch.roll(one, tuple(by), (1, 2)) for one, by in zip(face, shift, strict=True)])
        return face + 0.3 * torch.randn(face.shape)

    return faces


class FaceModel(nn.Module):
    def __init__(self, embedding_size: int = 32):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Flatten()
        )
        self.fc, self.classifier = nn.Linear(32 * 16, embedding_size), nn.Linear(embedding_size, PERSONS)

    def forward(self, x):
        return 10 * F.normalize(self.fc(self.body(x)), dim=1)

    def forward_classifier(self, x):
        return self.classifier(self.forward(x))


def triplets(n: int, first: int):
    anchor = torch.randint(PERSONS, (n,))
    other = (anchor + torch.randint(1, PERSONS, (n,))) % PERSONS
    return anchor + first, other + first


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    faces, margin = make_faces(seed), 5.0
    model, criterion = FaceModel(), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adagrad(model.parameters(), lr=0.01, lr_decay=1e-4)
    with watch(model, None, optimizer) as doctor:
        for _ in range(350):
            who, other = triplets(48, 0)
            data_a, data_p, data_n = faces(who), faces(who), faces(other)
            out_a, out_p, out_n = model(data_a), model(data_p), model(data_n)
            d_p, d_n = (out_a - out_p).norm(dim=1), (out_a - out_n).norm(dim=1)
            hard = np.where((d_n - d_p < margin).numpy())[0]
            if len(hard) == 0:
                continue
            if fixed:
                selected = [out[hard] for out in (out_a, out_p, out_n)]
            else:
                selected = [torch.from_numpy(out.data.numpy()[hard]) for out in (out_a, out_p, out_n)]
            triplet_loss = F.triplet_margin_loss(*selected, margin=margin)
            predicted = model.forward_classifier(torch.cat([data[hard] for data in (data_a, data_p, data_n)]))
            true_labels = torch.cat([who[hard], who[hard], other[hard]])
            loss = criterion(predicted, true_labels) + triplet_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():  # persons never seen
        who, other = triplets(2000, PERSONS)
        out_a, out_p, out_n = model(faces(who)), model(faces(who)), model(faces(other))
        same, different = (out_a - out_p).norm(dim=1), (out_a - out_n).norm(dim=1)
    score = (different - same > margin).float().mean().item()
    return {
        "score": score,
        "metric": "triplets of new persons apart by the margin",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
