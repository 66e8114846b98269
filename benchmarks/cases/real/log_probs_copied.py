"""Actor-critic whose actor gets no gradient.

Source: https://github.com/kengz/SLM-Lab/pull/133
Cause: the log-probabilities of the actions are put together by torch.tensor(), which makes a new tensor outside the
graph: only the value loss has a gradient.
Fix: torch.stack().
"""

import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.cases.data import mnist

TRUTH = ("graph-cut",)


class ActorCritic(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(196, 64), nn.ReLU())
        self.actor, self.critic = nn.Linear(64, 10), nn.Linear(64, 1)

    def forward(self, state):
        h = self.body(state)
        return self.actor(h), self.critic(h).squeeze(1)


def run(fixed: bool, watch, seed: int = 0) -> dict:
    """Read digits, told only whether a guess is right: reward 1 or 0."""
    torch.manual_seed(seed)
    x, y, tx, ty = mnist(10_000, 2000)
    x, tx = (F.avg_pool2d(images, 2).flatten(1) for images in (x, tx))
    net = ActorCritic()
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    with watch(net, None, optimizer) as doctor:
        for _ in range(600):
            i = torch.randint(len(x), (64,))
            logits, values = net(x[i])
            policy = torch.distributions.Categorical(logits=logits)
            actions = policy.sample()
            rewards = (actions == y[i]).float()
            log_probs = list(policy.log_prob(actions))
            log_probs = torch.stack(log_probs) if fixed else torch.tensor([p.item() for p in log_probs])
            advantages = rewards - values.detach()
            policy_loss = -(log_probs * advantages).mean()
            value_loss = F.mse_loss(values, rewards)
            loss = policy_loss + 0.5 * value_loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        score = (net(tx)[0].argmax(1) == ty).float().mean().item()
    return {"score": score, "metric": "share of right guesses", "doctor": doctor, "probe": None, "test": None}
