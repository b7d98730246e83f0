"""The learned Stein test as Grathwohl et al. (2020, B.1) run it: d = 50, 800, 100 and 100 rows.

The peer is their test in eager PyTorch: the critic 50-300-300-50 with a learned Swish and dropout 0.5, the
trace by one Gaussian probe and a second pass, Adam with weight decay on all 800 rows, the exact trace by a
loop over coordinates on the validation rows every 100 steps. Ours has the exact trace throughout.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from benchmarks.harness import Pair, Row, close
from energax.energies import Critic
from energax.evaluation import CriticTraining, lsd_test
from energax.evaluation.critics import Rows, terms

__all__ = ["ROW"]

N, D, WIDTH, EVERY = 1000, 50, 300, 100


class Twin(nn.Module):
    """`energax.energies.Critic` on a batch."""

    def __init__(self):
        super().__init__()
        sizes = [(D, WIDTH), (WIDTH, WIDTH), (WIDTH, D)]
        self.layers = nn.ModuleList(nn.Linear(m, n) for m, n in sizes)
        self.betas = nn.ParameterList(nn.Parameter(torch.ones(WIDTH)) for _ in range(2))
        self.drop = nn.Dropout(0.5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return f of every row."""
        for layer, beta in zip(self.layers[:2], self.betas, strict=True):
            a = layer(x)
            x = self.drop(a * torch.sigmoid(beta * a))
        return self.layers[2](x)


def probed(net: Twin, x: torch.Tensor, s: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return s·f + eᵀ∇f e and ‖f‖² of every row."""
    x = x.detach().requires_grad_(True)
    f, e = net(x), torch.randn_like(x)
    product = torch.autograd.grad(f, x, e, create_graph=True)[0]
    return (s * f).sum(1) + (product * e).sum(1), f.square().sum(1)


def exact(net: Twin, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Return s·f + tr ∇f of every row, a gradient for each coordinate."""
    x = x.detach().requires_grad_(True)
    f = net(x)
    trace = sum(torch.autograd.grad(f[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(D))
    return ((s * f).sum(1) + trace).detach()


def torch_test(x: torch.Tensor, s: torch.Tensor, steps: int) -> float:
    """Return t = √n mean/sd on the last tenth of the rows."""
    parts = [(x[a:b], s[a:b]) for a, b in ((0, 800), (800, 900), (900, N))]
    net = Twin()
    adam = torch.optim.Adam(net.parameters(), lr=1e-3, weight_decay=5e-4, fused=True)
    best, chosen = -np.inf, None
    for step in range(steps + 1):
        if step % EVERY == 0:
            net.eval()
            h = exact(net, *parts[1])
            power = float(h.mean() / (h.std() + 1e-6))
            if power > best:
                best, chosen = power, {name: value.clone() for name, value in net.state_dict().items()}
            net.train()
        if step < steps:
            h, size = probed(net, *parts[0])
            loss = 0.5 * size.mean() - h.mean() / (h.std() + 1e-6)
            adam.zero_grad(set_to_none=True)
            loss.backward()
            adam.step()
    assert chosen is not None
    net.load_state_dict(chosen)
    net.eval()
    h = exact(net, *parts[2])
    return float(len(h) ** 0.5 * h.mean() / (h.std() + 1e-6))


def build(quick: bool) -> Pair:
    x = np.random.default_rng(0).standard_normal((N, D)).astype(np.float32)
    s = -1.1 * x
    rows, steps, key = (torch.from_numpy(x), torch.from_numpy(s)), 200 if quick else 1000, jax.random.key(0)
    how = CriticTraining(steps=steps, check_every=EVERY)

    def ours():
        return lsd_test(x, scores=s, training=how, key=key, progress=False)

    def peer():
        return torch_test(*rows, steps)

    def verify() -> dict[str, float]:
        critic, twin = Critic((D,), width=WIDTH, dropout=0.5, key=key), Twin().eval()
        with torch.no_grad():
            for here, there in zip(critic.layers, twin.layers, strict=True):
                there.weight.copy_(torch.from_numpy(np.array(here.weight)))
                there.bias.copy_(torch.from_numpy(np.array(here.bias)))
        found, wanted = terms(critic, Rows(jnp.asarray(x), jnp.asarray(s))), exact(twin, *rows).numpy()
        t, other = ours().statistic, peer()
        assert min(t, other) > -4, (t, other)
        return close("stein terms", found, wanted, within=1e-4)

    return Pair(ours, peer, steps, verify)


ROW = Row(
    "lsd-test",
    "learned Stein test, 1,000 rows of d = 50, critic 300-300, a step of its training",
    "PyTorch eager, one probe",
    build,
    least=2.0,
    rounds=3,
)
