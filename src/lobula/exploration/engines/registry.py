"""Engines by name."""

from lobula.exploration.engines.base import Engine
from lobula.exploration.engines.local import LocalEngine
from lobula.exploration.folder import StudyFolder
from lobula.exploration.study import EngineSettings


def make_engine(settings: EngineSettings, folder: StudyFolder) -> Engine:
    """The engine of a study.

    Args:
        settings: section `engine` of the study.
        folder: of the study; engines keep their tickets below it.

    Raises:
        EngineError: if this machine cannot run it.
        MissingDependencyError: if it needs a library that is not installed.
    """
    return LocalEngine(folder.path / "engine", settings.gpus)
