"""Recordings, wiring, run directories: everything that an estimator may see."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lobula.data.public import *  # noqa: F403
else:
    from lobula.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__)
