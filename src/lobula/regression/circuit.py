"""A fitted circuit: the linear equation of every neuron, with uncertainties."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from lobula.data.varying import Drift, Plasticity, arrays_of, from_arrays
from lobula.data.wiring import Wiring
from lobula.errors import MissingInputError, StoreError
from lobula.regression.tabulate import NeuronCurves

OWN_TABLE = ("own_low", "own_step", "own_table")
NO_ARRAYS = ("own_curves", "varying")
"""Fields of a circuit that consist of arrays themselves."""


@dataclass(frozen=True)
class LinearCircuit:
    """dv_i/dt = k_i v_i + c_i + q_i I_i + sum_j theta_ij g_j(v_j), with uncertainties.

    Attributes:
        k: (N,) leak [1/s], negative for a stable neuron.
        c: (N,) offset [a.u./s].
        q: (N,) gain of the external input [1/s]; 0 where there is none.
        theta: (E,) coefficients of the messages [1/s], in the order of the wiring.
        theta_stderr: (E,) posterior standard deviation of theta.
        k_stderr, c_stderr: (N,) posterior standard deviations.
        weight_stderr: (E,) standard error of -theta/k, with their covariance.
        resolution: (E,) diagonal of the resolution matrix: 1 = determined by the data, 0 = by the prior.
        residual_std: (N,) standard deviation of the noise on the target [a.u./s].
        regularisation: (N,) lambda / n_frames.
        message_mean, message_std: (N,) statistics of the messages the fit used.
        own_gain: (N, K) coefficients of the own terms; (0, 0) where there are none.
        own_curves: what a neuron does by itself beyond k v + c [a.u./s], as a table; None: nothing.
        varying: what changes over the recording; None: nothing.
    """

    k: np.ndarray
    c: np.ndarray
    q: np.ndarray
    theta: np.ndarray
    theta_stderr: np.ndarray
    k_stderr: np.ndarray
    c_stderr: np.ndarray
    weight_stderr: np.ndarray
    resolution: np.ndarray
    residual_std: np.ndarray
    regularisation: np.ndarray
    message_mean: np.ndarray
    message_std: np.ndarray
    own_gain: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    own_curves: NeuronCurves | None = None
    varying: Plasticity | Drift | None = None

    @property
    def tau(self) -> np.ndarray:
        """(N,) time constants -1/k [s]."""
        with np.errstate(divide="ignore"):
            return -1.0 / self.k

    @property
    def v_rest(self) -> np.ndarray:
        """(N,) resting potentials -c/k [a.u.]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -self.c / self.k

    def save(self, path: Path) -> None:
        """Writes an .npz file."""
        with path.open("wb") as file:
            arrays: dict[str, Any] = {name: value for name, value in vars(self).items() if name not in NO_ARRAYS}
            own = {} if self.own_curves is None else self.own_curves.arrays
            arrays |= {f"own_{name}": array for name, array in own.items()}
            np.savez(file, **arrays | arrays_of(self.varying))

    @classmethod
    def load(cls, path: Path) -> "LinearCircuit":
        """Reads what `save` wrote.

        Raises:
            MissingInputError: if there is nothing.
            StoreError: if the file is truncated or foreign.
        """
        if not path.exists():
            raise MissingInputError(f"circuit: {path} does not exist; run the train stage first")
        try:
            with np.load(path) as arrays:
                own = [arrays[name] for name in OWN_TABLE if name in arrays]
                varying = from_arrays(dict(arrays))
                others = {*OWN_TABLE, *arrays_of(varying)}
                plain = {name: arrays[name] for name in arrays.files if name not in others}
                return cls(**plain, own_curves=NeuronCurves(*own) if own else None, varying=varying)
        except (OSError, ValueError, TypeError, KeyError, BadZipFile) as error:
            raise StoreError(
                f"circuit: {path} is truncated or foreign ({type(error).__name__}); train again"
            ) from error

    def own(self, voltage: np.ndarray) -> np.ndarray | float:
        """(T, N) what neurons do by themselves beyond their leak, at voltages (T, N) [a.u./s]."""
        return 0.0 if self.own_curves is None else self.own_curves(voltage)

    def weight(self, wiring: Wiring) -> np.ndarray:
        """(E,) synaptic weights -theta_ij / k_i, in units of the message function."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return -self.theta / self.k[wiring.post]
