"""Where a car will be: several trajectories and their chances, from a map and the state of the car.

Source: https://github.com/nutonomy/nuscenes-devkit/issues/728
Cause: the features of the map and the state of the car (speed, acceleration, rate of turn) go through two linear layers
with nothing between them: no product of speed and turn can be formed.
Fix: a ReLU between the two.
"""

import torch
from torch import nn
from torch.nn import functional as F

TRUTH = ("no-nonlinearity",)
MODES, STEPS = 3, 8


def scenes(n, seed):
    """Return maps (N, 1, 16, 16), states (N, 3) and future places (N, STEPS, 2)."""
    g = torch.Generator().manual_seed(seed)
    speed, acceleration = 0.5 + torch.rand(n, generator=g), 0.3 * torch.randn(n, generator=g)
    turn, branch = 0.5 * torch.randn(n, generator=g), torch.randint(0, 3, (n,), generator=g)
    columns = torch.arange(16)[None, None] - 8
    rows = torch.arange(16)[None, :, None]
    road = ((columns - (branch[:, None, None] - 1) * rows / 3).abs() < 1.5).float()
    maps = road[:, None] + 0.2 * torch.randn(n, 1, 16, 16, generator=g)
    t = torch.arange(1, STEPS + 1)[None] / 4
    heading = turn[:, None] * t + 0.3 * (branch[:, None] - 1)
    pace = (speed[:, None] + acceleration[:, None] * t).clamp(min=0)
    steps = torch.stack([pace * heading.sin(), pace * heading.cos()], 2) / 4
    path = steps.cumsum(1) + 0.01 * torch.randn(n, STEPS, 2, generator=g)
    return maps, torch.stack([speed - 1, acceleration, turn], 1), path


class MTP(nn.Module):
    def __init__(self, fixed, features=32, hidden=128):
        super().__init__()
        self.fixed = fixed
        self.backbone = nn.Sequential(
            nn.Conv2d(1, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(), nn.Flatten(),
            nn.Linear(256, features), nn.ReLU(),
        )  # fmt: skip
        self.fc1 = nn.Linear(features + 3, hidden)
        self.fc2 = nn.Linear(hidden, MODES * (2 * STEPS + 1))

    def forward(self, maps, state):
        features = torch.cat([self.backbone(maps), state], 1)
        hidden = self.fc1(features)
        out = self.fc2(hidden.relu() if self.fixed else hidden)
        paths, chances = out.split([MODES * 2 * STEPS, MODES], 1)
        return paths.view(-1, MODES, STEPS, 2), chances


def mtp_loss(paths, chances, wanted):
    """Train the closest mode, and the chances to name it."""
    error = (paths - wanted[:, None]).norm(dim=3).mean(2)
    best = error.detach().argmin(1)
    return F.cross_entropy(chances, best) + 5 * error.gather(1, best[:, None]).mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    maps, states, paths = scenes(3000, seed)
    tmaps, tstates, tpaths = scenes(800, seed + 100)
    model = MTP(fixed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    with watch(model, None, optimizer) as doctor:
        for _ in range(12):
            for i in torch.randperm(len(maps)).split(50):
                optimizer.zero_grad()
                loss = mtp_loss(*model(maps[i], states[i]), paths[i])
                loss.backward()
                optimizer.step()
    with torch.no_grad():
        guess, chances = model(tmaps, tstates)
    likely = guess[torch.arange(len(guess)), chances.argmax(1)]
    score = -(likely - tpaths).norm(dim=2).mean().item()
    return {"score": score, "metric": "minus mean distance", "doctor": doctor, "probe": None, "test": None}
