"""The rows that there are."""

ROW_NAMES = ("step", "simulate", "ridge", "recover", "io", "scale", "brain", "signal", "gpu")
