"""Where a DAG file's modules are looked for."""

from __future__ import annotations

import importlib.machinery
import json
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


def bundle_of(path: str, root: str) -> tuple[str, str] | None:
    """The name of the DAG bundle whose folder in `root` holds the file, and where its DAGs are: what Airflow calls its path."""
    folder = os.path.join(root, os.path.relpath(path, root).split(os.sep)[0])
    try:
        with open(os.path.join(folder, ".leoflow-bundle"), encoding="utf-8") as file:
            marker = json.load(file)
        return marker["bundle"], os.path.join(folder, marker["root"]).rstrip(os.sep)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def put_on_path(root: str, path: str, workspace: str | None = None) -> None:
    """sys.path: the folders of the project and the bundle, the root (an archive or the workspace), the rest; the workspace last.

    The live workspace only serves modules that the parse could not foresee (imported by a computed name in a task).
    """
    _, bundle = bundle_of(path, root) or (None, None)
    first = [folder for folder in (project_folder(path, root), bundle, root) if folder]
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
