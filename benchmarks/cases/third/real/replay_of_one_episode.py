"""Agent that steers carts on several tracks: it plays an episode, puts it into its memory and learns from that.

Source: https://github.com/Itomigna2/Muesli-lunarlander/issues/1
Cause: the lists of an episode are appended to the memory, then emptied by clear() and filled again: all entries of the
memory are the same lists, so it holds the last episode many times.
Fix: new lists for each episode.
New cause: references-kept: what is stored is a reference to something that goes on changing, not a copy.
"""

import copy
import random

import torch
from torch import nn

TRUTH = ("repeated-samples", "references-kept")
STEPS, TRACKS, DISCOUNT = 20, 8, 0.9


class Cart:
    """A cart on one of eight tracks, each with its goal, its slope, and its own sense of the lever."""

    def __init__(self):
        rules = random.Random(4)
        self.tracks = [
            (rules.uniform(-1, 1), rules.uniform(-0.03, 0.03), rules.choice([-0.08, 0.08])) for _ in range(TRACKS)
        ]

    def state(self):
        return [self.x, 3 * self.v, *(float(k == self.track) for k in range(TRACKS))]

    def reset(self):
        self.track, self.x, self.v = random.randrange(TRACKS), random.uniform(-1, 1), random.uniform(-0.2, 0.2)
        return self.state()

    def step(self, action):
        goal, slope, lever = self.tracks[self.track]
        self.v = 0.9 * self.v + lever * (action - 1) + slope
        self.x += self.v
        return self.state(), -abs(self.x - goal)


class Network(nn.Sequential):
    """The worth of each action in a state."""

    def __init__(self, width=48):
        super().__init__(
            nn.Linear(2 + TRACKS, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 3)
        )


class Agent:
    def __init__(self):
        self.network = Network()
        self.target = copy.deepcopy(self.network)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=2e-3, weight_decay=0)
        self.state_replay, self.action_replay, self.r_replay = [], [], []
        self.new_lists()

    def new_lists(self):
        self.state_traj, self.action_traj, self.r_traj = [], [], []

    @torch.no_grad()
    def self_play(self, env, epsilon):
        state = env.reset()
        for _ in range(STEPS):
            action = int(self.target(torch.tensor(state)).argmax())
            if random.random() < epsilon:
                action = random.randrange(3)
            self.state_traj.append(state)
            self.action_traj.append(action)
            state, reward = env.step(action)
            self.r_traj.append(reward)
        self.state_traj.append(state)
        self.state_replay.append(self.state_traj)
        self.action_replay.append(self.action_traj)
        self.r_replay.append(self.r_traj)

    def sample(self, size=32, replay_proportion=0.75):
        rows = []
        for k in range(size):
            sel = random.randrange(len(self.state_replay)) if k < size * replay_proportion else -1
            t = random.randrange(STEPS)
            states = self.state_replay[sel]
            rows.append((states[t], self.action_replay[sel][t], self.r_replay[sel][t], states[t + 1]))
        return (torch.tensor(part) for part in zip(*rows, strict=True))

    def update_weights(self, loss_fn, iterations=12):
        for _ in range(iterations):
            states, actions, rewards, later = self.sample()
            with torch.no_grad():
                wanted = rewards + DISCOUNT * self.target(later).max(1).values
            loss = loss_fn(self.network(states).gather(1, actions[:, None])[:, 0], wanted)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            with torch.no_grad():
                for slow, fast in zip(self.target.parameters(), self.network.parameters(), strict=True):
                    slow.lerp_(fast, 0.05)


@torch.no_grad()
def evaluate(network, episodes=200):
    env, total = Cart(), 0.0
    for _ in range(episodes):
        state = env.reset()
        for _ in range(STEPS):
            state, reward = env.step(int(network(torch.tensor(state)).argmax()))
            total += reward
    return total / episodes


def run(fixed: bool, watch, seed: int = 0) -> dict:
    torch.manual_seed(seed)
    random.seed(seed)
    agent, env = Agent(), Cart()
    with watch(agent.network, nn.SmoothL1Loss(), agent.optimizer) as doctor:
        for episode in range(200):
            agent.self_play(env, epsilon=max(0.1, 1 - episode / 100))
            agent.update_weights(doctor.loss_fn)
            if fixed:
                agent.new_lists()
            else:
                for traj in (agent.state_traj, agent.action_traj, agent.r_traj):
                    traj.clear()
    score = evaluate(agent.network)
    return {"score": score, "metric": "mean return of an episode", "doctor": doctor, "probe": None, "test": None}
