"""lobula recovers how a neural circuit works from its recorded activity."""

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lobula.public import *  # noqa: F403
else:
    from lobula.lazy import lazy_names

    __getattr__, __dir__ = lazy_names(__name__)

try:
    __version__ = version("lobula")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0.0.0"
