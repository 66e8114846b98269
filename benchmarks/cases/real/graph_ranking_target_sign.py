"""TransE whose ranking loss asks for greater distances of the true triples.

Source: https://github.com/deepakn97/relationPrediction/issues/21
Cause: MarginRankingLoss gets the target 1, "first input above the second", though the inputs are distances.
Fix: the target -1.
"""

import torch
from torch import nn

from benchmarks.cases.data import batches

TRUTH = ("loss-sign",)

SIDE = 8
STEPS = torch.tensor([[0, 1], [1, 0], [0, -1], [-1, 0], [2, 1], [1, 2], [-2, 2], [3, 0]])


class TransE(nn.Module):
    def __init__(self, width: int = 16):
        super().__init__()
        self.entity, self.relation = nn.Embedding(SIDE * SIDE, width), nn.Embedding(len(STEPS), width)

    def forward(self, triples):
        head, relation, tail = triples.T
        return (self.entity(head) + self.relation(relation) - self.entity(tail)).norm(dim=1)


def places():
    """Return all triples (head, relation, tail) of places on a map, relations such as "east of", in random order."""
    where = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
    reached = where[:, None] + STEPS
    head, relation = ((reached >= 0) & (reached < SIDE)).all(2).nonzero(as_tuple=True)
    tail = (reached[head, relation] * torch.tensor([SIDE, 1])).sum(1)
    return torch.stack([head, relation, tail], 1)[torch.randperm(len(head), generator=torch.Generator().manual_seed(0))]


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    triples = places()
    train, test = triples[:-100], triples[-100:]
    model, loss_fn = TransE(), nn.MarginRankingLoss(margin=1.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-2)
    with watch(model, loss_fn, optimizer) as doctor:
        for i in batches(len(train), 64, 40, seed):
            true, false = train[i], train[i].clone()
            side = 2 * torch.randint(0, 2, (len(i),))
            false[torch.arange(len(i)), side] = torch.randint(0, SIDE * SIDE, (len(i),))
            target = torch.full((len(i),), -1.0 if fixed else 1.0)
            optimizer.zero_grad()
            loss = doctor.loss_fn(model(true), model(false), target)
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        tails = torch.arange(SIDE * SIDE)
        questions = test[:, None].repeat(1, len(tails), 1)
        questions[:, :, 2] = tails
        distance = model(questions.flatten(0, 1)).view(len(test), -1)
    rank = (distance < distance.gather(1, test[:, 2:])).sum(1)
    score = (rank < 5).float().mean().item()
    return {"score": score, "metric": "test hits at 5", "doctor": doctor, "probe": None, "test": None}
