"""Q-learning in a grid world: replay memory, a target network that is copied now and then, Huber loss of one action.

A careless tool could take moving targets, a loss that rises, or gradients of one output in four for a fault.
"""

import copy
import random

import torch
from torch import nn

MOVES = torch.tensor([[0, 1], [0, -1], [1, 0], [-1, 0]])
GOAL = torch.tensor([4, 4])


def step(place, action):
    """Move in a grid of 5 x 5 with a wall; return the new place, the reward, and whether it is the goal."""
    new = (place + MOVES[action]).clamp(0, 4)
    if new[0] == 2 and new[1] < 4:
        new = place
    done = bool((new == GOAL).all())
    return new, 1.0 if done else -0.04, done


@torch.no_grad()
def reached(policy, place):
    for _ in range(16):
        place, _, done = step(place, policy(place / 2.0 - 1).argmax().item())
        if done:
            return True
    return False


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    random.seed(seed)
    policy = nn.Sequential(nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 4))
    target, memory = copy.deepcopy(policy), []
    optimizer = torch.optim.AdamW(policy.parameters(), lr=2e-3)
    place = torch.randint(0, 5, (2,))
    with watch(policy, nn.SmoothL1Loss(), optimizer) as doctor:
        for t in range(1000):
            greedy = random.random() > max(0.1, 1 - t / 500)
            with torch.no_grad():
                action = policy(place / 2.0 - 1).argmax().item() if greedy else random.randrange(4)
            new, reward, done = step(place, action)
            memory.append((place, action, reward, new, done))
            place = torch.randint(0, 5, (2,)) if done or t % 30 == 0 else new
            states, actions, rewards, following, ends = zip(*random.choices(memory, k=64), strict=True)
            q = policy(torch.stack(states) / 2 - 1).gather(1, torch.tensor(actions)[:, None])
            best = target(torch.stack(following) / 2 - 1).amax(1).detach()
            wanted = torch.tensor(rewards) + 0.95 * best * (1 - torch.tensor(ends).float())
            loss = doctor.loss_fn(q, wanted[:, None])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if t % 100 == 0:
                target.load_state_dict(policy.state_dict())
    score = sum(reached(policy, torch.tensor([k // 5, k % 5])) for k in range(25)) / 25
    return {"score": score, "metric": "starts that reach it", "doctor": doctor, "probe": None, "test": None}
