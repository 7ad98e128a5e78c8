"""Engines by name."""

from lobula.exploration.engines.base import Engine
from lobula.exploration.engines.cluster import ClusterEngine
from lobula.exploration.engines.local import LocalEngine
from lobula.exploration.engines.lsf import Lsf
from lobula.exploration.engines.slurm import Slurm
from lobula.exploration.folder import StudyFolder
from lobula.exploration.study import EngineSettings

TICKETS = "engine"
"""Folder of the engine's files, within the study's."""


def make_engine(settings: EngineSettings, folder: StudyFolder) -> Engine:
    """The engine of a study.

    Args:
        settings: section `engine` of the study.
        folder: of the study; engines keep their tickets below it. On a cluster all hosts must see it under this path.

    Raises:
        EngineError: if this machine cannot run it, or its cluster cannot be reached.
        MissingDependencyError: if it needs a library that is not installed.
    """
    tickets = folder.path / TICKETS
    if settings.name == "local":
        return LocalEngine(tickets, settings.gpus)
    if settings.name == "slurm":
        return ClusterEngine(Slurm(settings.queue, settings.options), tickets)
    if settings.name == "lsf":
        return ClusterEngine(Lsf(settings.queue, settings.host, settings.options), tickets)
    from lobula.exploration.engines.ray import RayEngine

    return RayEngine(tickets, settings.host)
