"""Names of a package that are imported when one of them is used first: `lobula --help` needs neither torch nor zarr."""

from collections.abc import Callable
from importlib import import_module
from typing import Any


def lazy_names(package: str) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of a package that offers what its module `public` lists in `__all__`.

    Args:
        package: name of the package.
    """

    def find(name: str) -> Any:
        if name.startswith("_") and name != "__all__":  # of the machinery of imports and copies
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        public = import_module(f"{package}.public")
        if name != "__all__" and name not in public.__all__:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(public, name)

    def list_names() -> list[str]:
        return list(find("__all__"))

    return find, list_names
