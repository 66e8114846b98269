"""Questions about images: the vision encoder, meant to be trained, runs under no_grad.

Source: https://github.com/TinyLLaVA/TinyLLaVA_Factory/issues/17
Cause: the forward pass of the vision encoder has the decorator torch.no_grad(), left over from a version in which it
was frozen: no gradient reaches it although it is to be tuned.
Fix: remove the decorator.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches, fashion

TRUTH = ("graph-cut",)


class VisionTower(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 5, 2, 2), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(2)
        )

    def forward(self, images):
        return self.net(images).flatten(2).transpose(1, 2)


class FrozenVisionTower(VisionTower):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)


class Llava(nn.Module):
    """Answers, for an image and a question (0 to 9: is this a shirt? a bag? ...), with no or yes."""

    def __init__(self, fixed: bool, dim: int = 32):
        super().__init__()
        self.vision_tower = VisionTower() if fixed else FrozenVisionTower()
        self.connector = nn.Linear(16, dim)
        self.words = nn.Embedding(10, dim)
        self.norm = nn.LayerNorm(dim)
        self.lm = nn.GRU(dim, 48, batch_first=True)
        self.head = nn.Linear(48, 2)

    def forward(self, images, question):
        tokens = torch.cat([self.words(question)[:, None], self.connector(self.vision_tower(images))], 1)
        return self.head(self.lm(self.norm(tokens))[0][:, -1])


def ask(y, seed: int):
    g = torch.Generator().manual_seed(seed)
    question = torch.where(torch.rand(len(y), generator=g) < 0.5, y, torch.randint(10, y.shape, generator=g))
    return question, (question == y).long()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    x, y, tx, ty = fashion(5000, 2000)
    (question, answer), (t_question, t_answer) = ask(y, seed), ask(ty, seed + 100)
    model, criterion = Llava(fixed), nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    with watch(model, criterion, optimizer) as doctor:
        for i in batches(len(x), 64, 5, seed):
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(x[i], question[i]), answer[i])
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (model(tx, t_question).argmax(1) == t_answer).float().mean().item()
    return {"score": score, "metric": "test accuracy", "doctor": doctor, "probe": None, "test": None}
