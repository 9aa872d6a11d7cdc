"""Where a DAG file's modules are looked for."""

from __future__ import annotations

import importlib.machinery
import os
import sys
from typing import Any


def project_folder(path: str, root: str) -> str | None:
    """The nearest folder at or above the file, within `root`, that holds leoflow.yaml."""
    folder = os.path.dirname(path)
    while folder == root or folder.startswith(os.path.join(root, "")):
        if os.path.isfile(os.path.join(folder, "leoflow.yaml")):
            return folder
        if folder == root:
            break
        folder = os.path.dirname(folder)
    return None


def put_on_path(root: str, path: str, workspace: str | None = None) -> None:
    """sys.path: the project's folder, the root (an archive or the workspace), the rest; the workspace itself comes last.

    The live workspace only serves modules that the parse could not foresee (imported by a computed name in a task).
    """
    first = [folder for folder in (project_folder(path, root), root) if folder]
    rest = [entry for entry in sys.path if entry not in first and entry != workspace]
    last = [workspace] if workspace and workspace not in first else []
    sys.path[:] = [*dict.fromkeys(first), *rest, *last]
    _write_no_bytecode_below(*(os.path.join(folder, "") for folder in {root, workspace or root}))


def _write_no_bytecode_below(*folders: str) -> None:
    """The user's folders stay as they are: a __pycache__ would be seen as a change, and an archive is not to be written."""
    loader = importlib.machinery.SourceFileLoader
    set_data = loader.set_data

    def set_data_elsewhere(self: Any, path: str, data: Any, **options: Any) -> None:
        if not path.startswith(folders):
            set_data(self, path, data, **options)

    loader.set_data = set_data_elsewhere  # type: ignore[assignment, method-assign]
