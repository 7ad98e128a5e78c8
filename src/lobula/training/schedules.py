"""Learning rates over a phase."""

import math

from lobula.config.training import TrainingConfig


# === LLM-MODIFIABLE: LEARNING RATE SCHEDULE START ===
def learning_rate(settings: TrainingConfig, step: int, n_steps: int) -> float:
    """Factor on the learning rates at a step of a phase of ``n_steps``."""
    warmup, final = settings.warmup_fraction, settings.final_lr_fraction
    if settings.schedule == "cosine":
        return warmup_cosine(step, n_steps, warmup, final)
    begun = round(warmup * n_steps)
    if step < begun:
        return (step + 1) / begun
    if settings.schedule == "constant":
        return 1.0
    return _cosine((step - begun) % settings.restart_steps / settings.restart_steps, final)


def warmup_cosine(step: int, n_steps: int, warmup_fraction: float, final_fraction: float) -> float:
    """Linear warm-up, then a cosine down to ``final_fraction``."""
    warmup = max(1, round(warmup_fraction * n_steps))
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(1, n_steps - warmup)
    return _cosine(min(progress, 1.0), final_fraction)


def _cosine(progress: float, final: float) -> float:
    return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))


# === LLM-MODIFIABLE: LEARNING RATE SCHEDULE END ===
