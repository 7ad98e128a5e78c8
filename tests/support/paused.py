"""A training without a pause, the same one that stops and goes on, and how far two trainings are apart."""

import csv
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from lobula.config import ExperimentConfig
from lobula.data.recording import Recording
from lobula.training import train


class Stop(Exception):
    pass


def whole_and_parts(
    recording: Recording, settings: ExperimentConfig, folder: Path, stop: int
) -> tuple[nn.Module, nn.Module]:
    """The model of a training without a pause, and that of one that is stopped after so many steps and goes on."""
    whole = train(recording, settings, folder / "whole")

    def stop_there(step: int, total: int, numbers: dict[str, float]) -> None:
        if step >= stop:
            raise Stop

    with pytest.raises(Stop):
        train(recording, settings, folder / "parts", progress=stop_there)
    return whole, train(recording, settings, folder / "parts")


def resumes_exactly(recording: Recording, settings: ExperimentConfig, folder: Path, stop: int) -> nn.Module:
    """Both end at the same bits. Returns the model."""
    whole, parts = whole_and_parts(recording, settings, folder, stop)
    for (key, a), (_, b) in zip(whole.state_dict().items(), parts.state_dict().items(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=key)
    assert (folder / "whole" / "metrics.csv").read_text() == (folder / "parts" / "metrics.csv").read_text()
    return whole


def apart(model: nn.Module, other: nn.Module, start: nn.Module) -> float:
    """Distance of two trained models over the way from the start to the second, of all parameters together."""
    triples = zip(model.parameters(), other.parameters(), start.parameters(), strict=True)
    squares = [[float((a - b).detach().double().square().sum()) for a, b in ((x, y), (y, z))] for x, y, z in triples]
    between, way = (math.sqrt(sum(column)) for column in zip(*squares, strict=True))
    return between / way


def losses(folder: Path) -> list[float]:
    """The losses in a training's metrics.csv."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["loss"]) for row in csv.DictReader(file)]
