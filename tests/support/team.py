"""One process of a training of several: python tests/support/team.py OUT STOP_AT [FIELD=VALUE]...

The leader gives up at step STOP_AT; 0 never.
"""

import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from tests.support.planted import DT, planted_circuit  # noqa: E402

from lobula.config import ExperimentConfig  # noqa: E402
from lobula.data.recording import Recording  # noqa: E402
from lobula.training import train  # noqa: E402
from lobula.training.distributed import joined  # noqa: E402

SMALL = {"training.n_steps": 40, "training.rounds": 1, "training.round_steps": 20, "training.checkpoint_every": 10,
         "training.validation_every": 20, "training.gauss_newton_steps": 1, "model.hidden_dim": 16,
         "model.hidden_dim_update": 16, "training.batch_size": 8}  # fmt: skip


def recording() -> Recording:
    planted = planted_circuit(n_frames=3000)
    return Recording.from_arrays(planted.voltage, planted.wiring, DT, planted.stimulus, planted.drift)


def run(out: Path, stop_at: int = 0, **values: object) -> None:
    def progress(step: int, total: int, numbers: dict[str, float]) -> None:
        if stop_at and step >= stop_at:
            raise RuntimeError("told to stop")

    config = ExperimentConfig().with_values({**SMALL, **values})
    with joined(config.training) as team:
        model = train(recording(), config, out, progress=progress, team=team)
        torch.save(model.state_dict(), out / f"returned-{team.rank}.pt")


if __name__ == "__main__":
    pairs = (word.split("=") for word in sys.argv[3:])
    run(Path(sys.argv[1]), int(sys.argv[2]), **{name: int(value) for name, value in pairs})
