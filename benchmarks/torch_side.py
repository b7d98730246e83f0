"""The same networks, losses and training step in eager PyTorch, as well as we know how to write it.

PyTorch cannot compile a double backward (pytorch#91469), so eager mode is what its users run.
Adam is the fused implementation and the average is kept by one multi-tensor operation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import equinox as eqx
import jax
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["MDSM", "MLP", "Loss", "QuadraticHead", "ResNet", "Trainer", "copy_of", "input_gradient"]

Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor | None], torch.Tensor]

ACTIVATIONS = {"silu": F.silu, "elu": F.elu}


class QuadraticHead(nn.Module):
    """h ↦ (a·h + b₁)(c·h + b₂) + d·(h∘h) + b₃ on a batch."""

    def __init__(self, size: int):
        super().__init__()
        self.a, self.c, self.d = (nn.Parameter(torch.zeros(size)) for _ in range(3))
        self.b = nn.Parameter(torch.zeros(3))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Return one energy per row of features."""
        return (h @ self.a + self.b[0]) * (h @ self.c + self.b[1]) + (h * h) @ self.d + self.b[2]


class LinearHead(nn.Module):
    """h ↦ a·φ(h) + b on a batch."""

    def __init__(self, size: int, activation: str):
        super().__init__()
        self.a, self.b = nn.Parameter(torch.zeros(size)), nn.Parameter(torch.zeros(()))
        self.phi = ACTIVATIONS[activation]

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        """Return one energy per row of features."""
        return self.phi(h) @ self.a + self.b


class MLP(nn.Module):
    """`energax.energies.MLP` on a batch."""

    def __init__(self, d: int, width: int, depth: int, activation: str = "silu", head: str = "quadratic"):
        super().__init__()
        sizes = [d, *[width] * depth]
        self.layers = nn.ModuleList(nn.Linear(m, n) for m, n in pairwise(sizes))
        self.head = QuadraticHead(width) if head == "quadratic" else LinearHead(width, activation)
        self.phi = ACTIVATIONS[activation]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one energy per row."""
        h = self.phi(self.layers[0](x))
        for layer in self.layers[1:]:
            h = h + self.phi(layer(h))
        return self.head(h)


class ResidualBlock(nn.Module):
    """`energax.energies.resnet.ResidualBlock` on a batch, channels first."""

    def __init__(self, channels_in: int, channels_out: int, down: bool):
        super().__init__()
        self.first = nn.Conv2d(channels_in, channels_in, 3, padding=1, bias=False)
        self.second = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.shortcut = nn.Conv2d(channels_in, channels_out, 1)
        self.down = down

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the block's output."""
        main = self.second(F.elu(self.first(F.elu(x))))
        if self.down:
            return self.shortcut(F.avg_pool2d(x, 2)) + F.avg_pool2d(main, 2)
        return self.shortcut(x) + main


class ResNet(nn.Module):
    """`energax.energies.ResNet` on a batch (n, C, H, W); its features are flattened as (H, W, C)."""

    def __init__(self, side: int, channels: int, layers: int, width: int):
        super().__init__()
        self.stem = nn.Conv2d(channels, width, 3, padding=1)
        blocks = []
        for stage in range(3):
            wide = width * 2 ** (stage + 1)
            for i in range({6: 1, 12: 2, 18: 3}[layers]):
                blocks.append(ResidualBlock(wide // 2 if i == 0 else wide, wide, down=i == 0))
        self.blocks = nn.ModuleList(blocks)
        self.head = QuadraticHead(8 * width * (side // 8) ** 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return one energy per row."""
        h = self.stem(x)
        for block in self.blocks:
            h = block(h)
        return self.head(h.permute(0, 2, 3, 1).flatten(1))


def _named(model: Any) -> dict[str, np.ndarray]:
    """Return the arrays of an Energax module (or its gradient) by PyTorch's names, in its layouts."""
    arrays = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array)):
        name = ".".join(str(getattr(k, "name", getattr(k, "idx", k))) for k in path)
        value = np.array(leaf)
        arrays[name] = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value  # HWIO to OIHW
    return arrays


def copy_of(model: Any, module: nn.Module) -> nn.Module:
    """Load an Energax model's weights into its twin, name by name, and return the twin."""
    state = {name: torch.from_numpy(value.copy()) for name, value in _named(model).items()}
    module.load_state_dict(state, strict=True)
    return module


def flat(model: Any) -> np.ndarray:
    """Return all arrays of an Energax module as one vector, in the order of their names."""
    arrays = _named(model)
    return np.concatenate([arrays[name].ravel() for name in sorted(arrays)])


def flat_torch(tensors: dict[str, torch.Tensor]) -> np.ndarray:
    """Return named tensors as one vector, in the same order as `flat`."""
    return np.concatenate([tensors[name].detach().numpy().ravel() for name in sorted(tensors)])


def input_gradient(module: nn.Module, x: torch.Tensor, *, create_graph: bool) -> torch.Tensor:
    """Return ∇ₓE of every row."""
    x = x.detach().requires_grad_(True)
    return torch.autograd.grad(module(x).sum(), x, create_graph=create_graph)[0]


class MDSM:
    """Multiscale denoising score matching with one noise level per row of a batch.

    Parameters
    ----------
    sigma
        The levels.
    sigma_0
        As in the objective.
    """

    def __init__(self, sigma: torch.Tensor, sigma_0: float):
        self.sigma, self.weight, self.sigma_0 = sigma, sigma**-2, sigma_0

    def __call__(self, module: nn.Module, x: torch.Tensor, z: torch.Tensor | None) -> torch.Tensor:
        """Return the loss of clean rows and their standard noise, drawn here if None."""
        noise = self.sigma.reshape(-1, *[1] * (x.ndim - 1)) * (torch.randn_like(x) if z is None else z)
        gradient = input_gradient(module, x + noise, create_graph=True)
        residual = noise - self.sigma_0**2 * gradient
        return (residual.flatten(1).square().sum(1) * self.weight).mean()


class Trainer:
    """A loss descended by Adam with a cosine schedule, and an average of the weights.

    Parameters
    ----------
    module
        The energy on a batch.
    loss
        (module, rows, what is drawn for them or None to draw it) ↦ the loss.
    data
        All rows; a step gathers its own.
    learning_rate, steps, ema
        As in `energax.fit`.
    """

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        data: torch.Tensor,
        *,
        learning_rate: float,
        steps: int,
        ema: float,
    ):
        self.module, self.loss, self.data = module, loss, data
        self.learning_rate, self.steps, self.decay = learning_rate, steps, ema
        self.parameters = list(module.parameters())
        self.average = [torch.zeros_like(p) for p in self.parameters]
        self.adam = torch.optim.Adam(self.parameters, lr=learning_rate, fused=True)
        self.done = 0

    def step(self, rows: torch.Tensor, z: torch.Tensor | None = None) -> torch.Tensor:
        """Descend once and return the loss."""
        loss = self.loss(self.module, self.data[rows], z)
        self.adam.zero_grad(set_to_none=True)
        loss.backward()
        for group in self.adam.param_groups:
            group["lr"] = self.learning_rate * 0.5 * (1 + math.cos(math.pi * self.done / self.steps))
        self.adam.step()
        with torch.no_grad():
            torch._foreach_lerp_(self.average, self.parameters, 1 - self.decay)
        self.done += 1
        return loss.detach()
