"""The folder that the tasks of a run share: LEOFLOW_STAGING_DIR."""

from __future__ import annotations

import os

_ROOT = "LEOFLOW_STAGING_ROOT"
_FOLDER = "LEOFLOW_STAGING_DIR"


def enter(dag_id: str, run_id: str) -> None:
    """Make the run's folder, unless a task before has, and name it to the task of this process."""
    root = os.environ.pop(_ROOT, None)
    if root is None:
        return
    folder = os.path.join(root, f"dag_id={dag_id}", f"run_id={run_id}")
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(folder, 0o700, exist_ok=True)
    os.environ[_FOLDER] = folder
