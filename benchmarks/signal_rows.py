"""Rows of the studies of signal networks: recipe and settings by study and row; `signal_study` runs them."""

FEW = ("simulation.n_frames=20000", "spline.curve_frames=8000")
FILLS = (1, 0.9, 0.75, 0.5, 0.25, 0.1, 0.05)
FRAMES_PER_STEP = 64
UNROLLED = (1, 4, 16, 32, 64)
"""Steps in time of the study `recurrence`."""
SMALL_NET = (
    *("simulation.n_frames=10000", "model.hidden_dim=32", "model.hidden_dim_update=32", "training.ode_method=midpoint"),
    *("model.g_phi_shared=yes", "training.target=observed", "training.n_steps=400", "training.rounds=0"),
    *("training.gauss_newton_steps=0", "training.lr=5e-3", "training.lr_W=1e-2", "training.estimators=[gnn]"),
)


def unrolled(frames: int, loss: str = "end", regime: str = "recurrent", noise: float = 0.0) -> tuple[str, ...]:
    """Settings of a row of the study `recurrence`."""
    sizes = (f"training.time_step={frames}", f"training.batch_size={FRAMES_PER_STEP // frames}")
    return (*sizes, f"training.regime={regime}", f"training.recurrent_loss={loss}", f"training.recurrent_noise={noise}")


def recurrence_rows() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Rows of the study `recurrence`."""
    ways = {"1 end": unrolled(1)}
    ways |= {f"{frames} {loss}": unrolled(frames, loss) for frames in UNROLLED[1:] for loss in ("end", "dense")}
    ways |= {f"16 dense + noise {noise:g}": unrolled(16, "dense", noise=noise) for noise in (0.05, 0.5)}
    ways["16 neural ODE"] = unrolled(16, regime="neural_ode")
    return {
        f"sigma {sigma:g}, {name}": ("signal-small", (*SMALL_NET, f"simulation.process_noise={sigma}", *settings))
        for sigma in (0, 0.05)
        for name, settings in ways.items()
    }


def models() -> dict[str, tuple[str, tuple[str, ...]]]:
    """Rows of the study `models`: message functions of types (1,000 neurons) and circuits that change."""
    alone, typed = "training.estimators=[spline]", {name: f"signal-{name.lower()}" for name in ("N4", "N5", "N11")}
    rows = {name: (recipe, (*FEW, alone)) for name, recipe in typed.items()}
    rows |= {f"{name}, 100000 frames": (recipe, (alone,)) for name, recipe in typed.items()}
    changing = {f"{name}, 200 neurons": (name, "signal.n_neurons=200") for name in ("N3", "N6", "N7")}
    changing["N6, 1000 neurons"] = ("N6", "signal.n_neurons=1000")
    warm = ("training.estimators=[spline,gnn]", "training.warm_start=spline", "training.batch_size=8")
    rows["N2, network from the spline"] = ("signal-n2", (*FEW, *warm))
    rows["N2, network from random values"] = ("signal-n2", (*FEW, "training.estimators=[gnn]"))
    rungs = {"N7": "training.estimators=[ridge,spline]"}  # the network's messages are of the sender alone
    return rows | {
        row: (
            f"signal-{name.lower()}",
            ("simulation.n_frames=20000", size, rungs.get(name, "training.estimators=[ridge,spline,gnn]")),
        )
        for row, (name, size) in changing.items()
    }


def large(n_neurons: int) -> tuple[str, ...]:
    """Settings of a large circuit: ridge, trials of 100 frames, four times as many frames as neurons."""
    trials = ("simulation.trial_frames=100", "signal.burn_in=0", f"simulation.n_frames={4 * n_neurons}")
    few = ("simulation.n_frames_validation=1000", "simulation.n_frames_test=1000", "training.estimators=[ridge]")
    return (f"signal.n_neurons={n_neurons}", *trials, *few)


STUDIES: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "fill": {f"{fill:g}": ("signal-n2", (*FEW, f"signal.fill={fill}")) for fill in FILLS},
    "fill-observed": {
        f"{fill:g}": (
            "signal-n2",
            (*FEW, f"signal.fill={fill}", "training.target=observed", "training.estimators=[ridge]"),
        )
        for fill in FILLS
    },
    "frames": {
        f"{n}": ("signal-n2", (f"simulation.n_frames={n}", "spline.curve_frames=8000"))
        for n in (10_000, 20_000, 50_000, 100_000)
    },
    "noise": {
        f"{sigma:g} {target}": (
            "signal-n2",
            (*FEW, f"simulation.process_noise={sigma}", f"training.target={target}"),
        )
        for sigma in (0, 0.05, 0.5)
        for target in ("drift", "observed")
    },
    "size": {f"{n}": ("signal-n2", (*FEW, f"signal.n_neurons={n}")) for n in (100, 300, 1_000, 2_000)}
    | {f"{n}, short trials": ("signal-n2", large(n)) for n in (2_000, 4_000, 8_000)},
    "gain": {
        f"{g:g}": (
            "signal-n2",
            (*FEW, f"signal.parameters=[[{g},1,1],[{g},2,1],[{g},1,2],[{g},2,2]]"),
        )
        for g in (5.0, 10.0, 20.0)
    },
    "types": {
        f"{n}": ("signal-n2", (*FEW, f"signal.parameters={[[10, 1 + k % 2, 1 + k // 2] for k in range(n)]}"))
        for n in (1, 2, 4, 8)
    },
    "connectivity": {
        "Gaussian": ("signal-n2", (*FEW, "signal.connectivity=gaussian")),
        "rank 20": ("signal-n2", (*FEW, "signal.connectivity=low_rank", "signal.rank=20")),
        "Dale, half excitatory": ("signal-n2", (*FEW, "signal.dale_law=true", "signal.dale_factor=0.5")),
    },
    "models": models(),
    "recurrence": recurrence_rows(),
}
"""Rows by study: recipe and settings."""
