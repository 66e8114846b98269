"""Q-learning with rewards (B,) added to the next values (B, 1).

Source: https://github.com/datawhalechina/easy-rl/issues/121
Cause: the rewards lack unsqueeze(1): the targets become (B, B), and each state gets the mean reward of the batch.
Fix: reward.unsqueeze(1).
"""

import copy

import torch
from torch import nn

TRUTH = ("shape-broadcast",)

SIDE, GAMMA = 6, 0.9
MOVES = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
GOAL = torch.tensor([4, 4])


def features(state):
    return nn.functional.one_hot(state, SIDE).flatten(1).float()


def transitions(n: int, seed: int):
    """Return states, actions, rewards, next states and ends of random steps in a grid with a goal."""
    g = torch.Generator().manual_seed(seed)
    state = torch.randint(0, SIDE, (n, 2), generator=g)
    action = torch.randint(0, 4, (n,), generator=g)
    after = (state + MOVES[action]).clamp(0, SIDE - 1)
    done = (after == GOAL).all(1).float()
    return features(state), action, done - 0.02, features(after), done


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    state, action, reward, after, done = transitions(10_000, 1)
    model = nn.Sequential(nn.Linear(2 * SIDE, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    target_model, loss_fn = copy.deepcopy(model), nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    with watch(model, loss_fn, optimizer) as doctor:
        for step in range(1000):
            if step % 50 == 0:
                target_model.load_state_dict(model.state_dict())
            i = torch.randint(0, len(state), (64,))
            q = model(state[i]).gather(1, action[i, None])
            with torch.no_grad():
                best = target_model(after[i]).max(1, keepdim=True).values
            earned = reward[i].unsqueeze(1) if fixed else reward[i]
            target = earned + GAMMA * best * (1 - done[i].unsqueeze(1))
            loss = doctor.loss_fn(q, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    cells = torch.cartesian_prod(torch.arange(SIDE), torch.arange(SIDE))
    cells = cells[(cells != GOAL).any(1)]
    with torch.no_grad():
        moved = (cells + MOVES[model(features(cells)).argmax(1)]).clamp(0, SIDE - 1)
    nearer = (moved - GOAL).abs().sum(1) < (cells - GOAL).abs().sum(1)
    score = nearer.float().mean().item()
    return {
        "score": score,
        "metric": "share of cells with a step to the goal",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
