"""What all tests share. One thread per process, so that results do not depend on the machine's cores."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch are imported

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings
from jaxtyping import install_import_hook

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # before Triton is imported
else:
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before the first product on the GPU

# modules whose jaxtyping annotations are checked at run time in tests
SHAPE_CHECKED = ["lobula.data.state", "lobula.data.series"]
install_import_hook(SHAPE_CHECKED, "beartype.beartype")

from lobula.data.wiring import Wiring  # noqa: E402  (the hook must be in place first)

settings.register_profile("lobula", deadline=None, derandomize=True, max_examples=40, database=None)
settings.load_profile("lobula")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked gpu are skipped, with a reason, where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="no CUDA device here"))


REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """Finds a file of the shared data by name, or skips the test.

    Looks in $LOBULA_SHARED_DATA, else in ../shared/data beside the repository.
    """
    folder = Path(os.environ.get("LOBULA_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(name: str) -> Path:
        if not (folder / name).is_file():
            pytest.skip(f"{name} is not in {folder} (set LOBULA_SHARED_DATA)")
        return folder / name

    return find


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator that starts at the same point in every test."""
    return np.random.default_rng(7)


@pytest.fixture
def small_wiring() -> Wiring:
    """Five neurons, seven edges (one a self-loop), two of three columns seen by neurons 0 and 1."""
    edges = np.array([[0, 1, 2, 0, 3, 4, 4], [2, 2, 3, 3, 4, 0, 4]])
    return Wiring.from_edges(edges, 5, stimulus_column=np.array([2, 0, -1, -1, -1]))
