"""Learning rates over a phase."""

import math


def warmup_cosine(step: int, n_steps: int, warmup_fraction: float, final_fraction: float) -> float:
    """Factor on the learning rate: linear warm-up, then a cosine down to ``final_fraction``."""
    warmup = max(1, round(warmup_fraction * n_steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, n_steps - warmup)
    return final_fraction + (1 - final_fraction) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
