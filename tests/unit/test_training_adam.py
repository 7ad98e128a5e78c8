"""Adam: torch's own update, with state that survives, and without torch's compiler."""

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from lobula.training.adam import Adam


def parameters() -> list[torch.nn.Parameter]:
    generator = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape, generator=generator)) for shape in ((5, 3), (7,), (2, 2))]


def groups(own: list[torch.nn.Parameter], rate: Any = float) -> list[dict[str, Any]]:
    return [
        {"name": "first", "params": own[:2], "lr": rate(1e-2)},
        {"name": "second", "params": own[2:], "lr": rate(3e-3)},
    ]


def set_gradients(own: list[torch.nn.Parameter], step: int) -> None:
    for i, parameter in enumerate(own):
        absent = i == 1 and step % 3 == 0
        parameter.grad = None if absent else torch.sin(parameter.detach() * (i + 1) + step)


@pytest.mark.parametrize("rate", [float, torch.tensor])  # the kernel in C, and torch's
def test_update_is_that_of_torch(rate: Any) -> None:
    mine, theirs = parameters(), parameters()
    own, reference = Adam(groups(mine, rate)), torch.optim.Adam(groups(theirs), fused=True)
    for step in range(12):
        set_gradients(mine, step)
        set_gradients(theirs, step)
        own.step()
        reference.step()
    for found, wanted in zip(mine, theirs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("of", [lambda g: Adam(g), lambda g: torch.optim.Adam(g, fused=True)])
def test_state_is_taken_over_also_from_torch(of: Any) -> None:
    first, second = parameters(), parameters()
    earlier, later = of(groups(first)), Adam(groups(second))
    for step in range(1, 5):
        set_gradients(first, step)
        earlier.step()
    later.load_state_dict(earlier.state_dict())
    with torch.no_grad():
        for found, wanted in zip(second, first, strict=True):
            found.copy_(wanted)
    for optimiser, own in ((earlier, first), (later, second)):
        set_gradients(own, 5)
        optimiser.step()
    for found, wanted in zip(second, first, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


def test_gradients_are_dropped() -> None:
    own = parameters()
    set_gradients(own, 1)
    Adam(groups(own)).zero_grad()
    assert all(parameter.grad is None for parameter in own)


def test_a_step_does_not_need_the_compiler() -> None:
    code = (
        "import sys, torch; from lobula.training.adam import Adam; p = torch.nn.Parameter(torch.ones(2)); "
        "o = Adam([{'params': [p], 'lr': 0.1}]); (p**2).sum().backward(); o.step(); "
        "print(p.tolist(), 'torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    moved, compiler = done.stdout.rsplit(" ", 1)
    assert compiler.strip() == "False"
    assert json.loads(moved) == pytest.approx([0.9, 0.9], abs=1e-5)
