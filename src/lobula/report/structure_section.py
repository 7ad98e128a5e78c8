"""The section on the circuit as a whole: the matrix of weights, and what its spectrum says."""

from functools import partial

import numpy as np

from lobula.figures import connectivity_matrix, singular_alignment, weight_spectra
from lobula.metrics import Spectrum, alignment, subspace_alignment, weight_spectrum
from lobula.report.circuit_sections import cell_types, true_weights
from lobula.report.exhibits import Exhibit, Section
from lobula.report.inputs import ReportInputs
from lobula.report.tables import circuit_table, spectrum_table

N_VALUES = 32
_TEXT = (
    "A circuit can be right edge by edge and still behave otherwise. Eigenvalues say which patterns of activity grow, "
    "fade or swing; singular values and their directions say which patterns of senders drive which receivers most."
)
_MATRIX = (
    "Every weight at its place: columns send, rows receive, neurons in the order of their cell types; orange excites, "
    "blue inhibits."
)
_SPECTRA = "Left: eigenvalues of the weights, with a circle at the {owner} spectral radius. Right: singular values."
_PARTIAL = " Of this many neurons only the {n} largest are computed."
_ALIGNED = (
    "Main directions of the true weights against those of {name}: a strong diagonal is a match, one by one. Directions "
    "of nearly equal strength may mix; the curve at the right counts the space that the first k span together."
)


def structure_section(inputs: ReportInputs) -> Section | None:
    """Matrix, spectra and alignment of the best estimator beside the truth."""
    name = inputs.headline
    if name is None or name not in inputs.estimates:
        return None
    estimates = inputs.estimates[name]
    wiring, recovered = estimates.wiring, estimates.edges["weight"].to_numpy(float)
    weights = {"true": true_weights(inputs, estimates)} if inputs.circuit is not None else {}
    weights[name] = recovered
    kind, names, _ = cell_types(inputs, estimates)
    draw = partial(connectivity_matrix, wiring.pre, wiring.post, weights, kind, names)
    exhibits = [Exhibit("connectivity_matrix", _MATRIX, draw, "full")]
    spectra = {title: weight_spectrum(wiring.csr(values), N_VALUES) for title, values in weights.items()}
    exhibits.append(_spectra(spectra))
    if len(spectra) > 1 and wiring.n_neurons > 1:
        exhibits.append(_aligned(name, *spectra.values()))
    tables = [table for table in (circuit_table(inputs), spectrum_table(inputs)) if table is not None]
    return Section("structure", "The circuit as a whole", _TEXT, exhibits, tables)


def _spectra(spectra: dict[str, Spectrum]) -> Exhibit:
    first = next(iter(spectra.values()))
    caption = _SPECTRA.format(owner="true" if "true" in spectra else "recovered")
    caption += "" if first.is_complete else _PARTIAL.format(n=len(first.singular_values))
    draw = partial(
        weight_spectra,
        {name: found.eigenvalues for name, found in spectra.items()},
        {name: found.singular_values for name, found in spectra.items()},
        {name: found.radius for name, found in spectra.items()},
    )
    return Exhibit("weight_spectra", caption, draw, "full")


def _aligned(name: str, true: Spectrum, recovered: Spectrum) -> Exhibit:
    sides = {"senders": (true.right, recovered.right), "receivers": (true.left, recovered.left)}
    strong = int(np.sum(true.singular_values > 1e-9 * true.singular_values.max(initial=0.0)))
    pairs = {side: tuple(vectors[:, : max(strong, 1)] for vectors in both) for side, both in sides.items()}
    cosines = {side: alignment(*both) for side, both in pairs.items()}
    spaces = {side: subspace_alignment(*both) for side, both in pairs.items()}
    draw = partial(singular_alignment, cosines, spaces, estimator=name)
    return Exhibit("singular_alignment", _ALIGNED.format(name=name), draw, "full")
