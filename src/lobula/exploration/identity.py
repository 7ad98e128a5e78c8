"""What is the same: equal ids mean the same experiment, the same recording, or the same code."""

import hashlib
from pathlib import Path

from lobula.config import ExperimentConfig
from lobula.data.run_dir import combined_digest, named_files_digest, recording_digest
from lobula.exploration.study import SEED_FIELDS

NOT_IDENTITY = (*SEED_FIELDS, "training.device", "training.checkpoint_every")
"""Fields that do not decide what a config is: a replicate of it may differ in them. Nor do name and description."""
_DIGITS = 16
_CODE = ("*.py", "*.yaml", "*.json", "*.csv", "*.gz")


def config_id(config: ExperimentConfig, code: str) -> str:
    """Id of what a run tries: the config without its seeds, the files that it names, and the code.

    Args:
        config: resolved config.
        code: id of the code: `code_id` of the frozen copy, or the commit of a patch.

    Returns:
        16 hexadecimal digits.
    """
    return combined_digest(config.digest(exclude=NOT_IDENTITY), named_files_digest(config), code)[:_DIGITS]


def data_id(config: ExperimentConfig) -> str:
    """Id of the recording that a config makes: settings, data seed, and the files that it names.

    Returns:
        16 hexadecimal digits.
    """
    return recording_digest(config)[:_DIGITS]


def code_id(root: Path) -> str:
    """Id of the code in a folder: names and contents of its source and of the data files of its package.

    Args:
        root: a checkout, or any folder with the package below it.

    Returns:
        16 hexadecimal digits.
    """
    package = root / "src" if (root / "src").is_dir() else root
    digest = hashlib.sha256()
    for file in sorted(file for pattern in _CODE for file in package.rglob(pattern)):
        content = hashlib.sha256(file.read_bytes()).hexdigest()
        digest.update(f"{file.relative_to(package).as_posix()} {content}\n".encode())
    return digest.hexdigest()[:_DIGITS]
