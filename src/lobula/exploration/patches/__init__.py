"""Code of a study: frozen when it starts, patched in detached working trees, kept as commits, promoted to branches."""

from lobula.exploration.patches.base import Base, freeze, read_base
from lobula.exploration.patches.gate import Change, check, gate
from lobula.exploration.patches.promote import code_path, diff, promote, remove_code

__all__ = ["Base", "Change", "check", "code_path", "diff", "freeze", "gate", "promote", "read_base", "remove_code"]
