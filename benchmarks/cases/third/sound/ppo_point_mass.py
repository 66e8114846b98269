"""PPO (Schulman et al. 2017): a point mass learns to reach a place and stop there; each rollout is used for four epochs
of minibatches, with clipped ratios, a value loss and a bonus for entropy.

A careless tool could take a loss around 0 that does not fall, or gradients cut by the clip, for a fault.
"""

import torch
from torch import nn
from torch.distributions import Normal

WORLDS, HORIZON = 32, 40


class Agent(nn.Module):
    def __init__(self, hidden=48):
        super().__init__()
        self.actor = nn.Sequential(
            nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2)
        )
        self.critic = nn.Sequential(
            nn.Linear(4, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), nn.Linear(hidden, 1)
        )
        self.log_std = nn.Parameter(torch.full((2,), -0.5))
        with torch.no_grad():
            self.actor[-1].weight.mul_(0.1)

    def forward(self, state):
        return self.actor(state), self.log_std.exp().expand(len(state), 2), self.critic(state).squeeze(1)


def start():
    return torch.cat([4 * torch.rand(WORLDS, 2) - 2, torch.randn(WORLDS, 2) * 0.3], dim=1)


def move(state, force):
    place, speed = state[:, :2], state[:, 2:]
    speed = 0.95 * speed + 0.3 * force.clamp(-1, 1)
    place = place + 0.2 * speed
    reward = 1 - place.norm(dim=1) - 0.1 * speed.norm(dim=1)
    return torch.cat([place, speed], dim=1), reward


@torch.no_grad()
def rollout(agent):
    state, kept = start(), []
    for _ in range(HORIZON):
        mean, std, value = agent(state)
        action = mean + std * torch.randn_like(mean)
        log_prob = Normal(mean, std).log_prob(action).sum(1)
        after, reward = move(state, action)
        kept.append((state, action, log_prob, value, 0.1 * reward))
        state = after
    states, actions, log_probs, values, rewards = (torch.stack(part) for part in zip(*kept, strict=True))
    following = torch.cat([values[1:], agent(state)[2][None]])
    advantages, running = torch.zeros_like(rewards), torch.zeros(WORLDS)
    for t in reversed(range(HORIZON)):
        running = rewards[t] + 0.97 * following[t] - values[t] + 0.97 * 0.95 * running
        advantages[t] = running
    parts = states, actions, log_probs, advantages, advantages + values
    return [part.flatten(0, 1) for part in parts]


@torch.no_grad()
def play(agent):
    state, total = start(), torch.zeros(WORLDS)
    for _ in range(HORIZON):
        state, reward = move(state, agent(state)[0])
        total += reward
    return (total / HORIZON).mean().item()


def ppo_loss(outputs, action, old_log_prob, advantage, wanted):
    mean, std, value = outputs
    normal = Normal(mean, std)
    ratio = (normal.log_prob(action).sum(1) - old_log_prob).exp()
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
    gain = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage).mean()
    return -gain + 0.5 * (value - wanted).square().mean() - 0.002 * normal.entropy().sum(1).mean()


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    agent = Agent()
    optimizer = torch.optim.Adam(agent.parameters(), lr=2e-3, eps=1e-5)
    returns = []
    with watch(agent, ppo_loss, optimizer) as doctor:
        for _update in range(40):
            states, actions, log_probs, advantages, wanted = rollout(agent)
            for _epoch in range(4):
                for i in torch.randperm(len(states)).split(256):
                    loss = doctor.loss_fn(agent(states[i]), actions[i], log_probs[i], advantages[i], wanted[i])
                    optimizer.zero_grad()
                    loss.backward()
                    nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                    optimizer.step()
            returns.append(play(agent))
    return {
        "score": sum(returns[-5:]) / 5,
        "metric": f"mean reward (after one update: {returns[0]:.2f})",
        "doctor": doctor,
        "probe": None,
        "test": None,
    }
