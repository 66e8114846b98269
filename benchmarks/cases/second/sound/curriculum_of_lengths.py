"""A GRU follows commands through a small town; the curriculum begins with 3 commands and ends with 14.

A careless tool could take the order from easy to hard, or the loss that rises at each stage, for a fault.
"""

import torch
import torch.nn as nn

PLACES, COMMANDS = 6, 8
STAGES = [(3, 60), (6, 120), (10, 160), (14, 260)]  # commands, steps


def draw_town(generator):
    """Four commands lead round the town in their ways, three home to one place each, and one does nothing."""
    ways = [torch.randperm(PLACES, generator=generator) for _ in range(4)]
    homes = [torch.full((PLACES,), int(p)) for p in torch.randperm(PLACES, generator=generator)[:3]]
    return torch.stack([*ways, *homes, torch.arange(PLACES)])


def walks(town, n, length):
    commands = torch.randint(COMMANDS, (n, length))
    place = torch.zeros(n, dtype=torch.long)
    for t in range(length):
        place = town[commands[:, t], place]
    return commands, place


class Walker(nn.Module):
    def __init__(self, emb=16, hidden=64):
        super().__init__()
        self.emb = nn.Embedding(COMMANDS, emb)
        self.gru = nn.GRU(emb, hidden, batch_first=True)
        self.fc = nn.Linear(hidden, PLACES)

    def forward(self, commands):
        _, h = self.gru(self.emb(commands))
        return self.fc(h[-1])


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    town = draw_town(torch.Generator().manual_seed(7))
    model = Walker()
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    with watch(model, criterion, optimizer) as doctor:
        for length, steps in STAGES:
            for _ in range(steps):
                commands, place = walks(town, 64, length)
                logits = model(commands)
                loss = doctor.loss_fn(logits, place)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
    test_commands, test_place = walks(town, 1000, 14)
    with torch.no_grad():
        score = (model(test_commands).argmax(1) == test_place).float().mean().item()
    return {
        "score": score,
        "metric": "test accuracy (longest walks)",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
