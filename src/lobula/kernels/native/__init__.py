"""Kernels in C, compiled on first use: what a training step on a CPU spends its time in.

They replace torch's operations where there is a C compiler (`build.library`); without one everything works, slower.
"""
