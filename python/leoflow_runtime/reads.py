"""Which files of the workspace a DAG file depends on: imported, named as templates, or read while importing.

A module in an archive is `packed.zip/module.py` here, as in Airflow; the file that it comes from is the archive.
"""

from __future__ import annotations

import ast
import os
import sys
import zipfile
from typing import Any

from airflow.utils.file import correct_maybe_zipped
from jinja2 import meta


class ReadRecorder:
    """Notes files opened for reading and folders listed below `root` while it is entered."""

    def __init__(self, root: str) -> None:
        self.files: set[str] = set()
        self.folders: set[str] = set()
        self._prefix = os.path.join(root, "")
        self._root = root
        self._active = False
        sys.addaudithook(self._hear)

    def __enter__(self) -> ReadRecorder:
        self._active = True
        return self

    def __exit__(self, *_: object) -> None:
        self._active = False

    def _hear(self, event: str, args: tuple[Any, ...]) -> None:
        if not self._active or event not in ("open", "os.listdir", "os.scandir"):
            return
        try:
            name = os.path.abspath(os.fsdecode(args[0] if args[0] is not None else "."))
        except TypeError:  # a file descriptor
            return
        if name != self._root and not name.startswith(self._prefix):
            return
        if event == "open":
            mode, flags = args[1], args[2]
            written = any(c in mode for c in "wax+") if isinstance(mode, str) else flags & (os.O_WRONLY | os.O_RDWR)
            if not written and not name.endswith(".pyc"):
                self.files.add(name)
        elif "importlib" not in sys._getframe(1).f_code.co_filename:
            self.folders.add(name)


def workspace_modules(root: str, before: set[str]) -> set[str]:
    """Sources of the modules loaded from below `root`; the modules named in `before` are not looked at."""
    prefix = os.path.join(root, "")
    found = set()
    for module_name in sys.modules.keys() - before:
        name = getattr(sys.modules[module_name], "__file__", None)
        if isinstance(name, str) and name.startswith(prefix):
            found.add(name)
    return found


def file_of(path: str) -> str:
    """The file that holds this module."""
    return str(correct_maybe_zipped(path))


def source_of(path: str) -> bytes:
    """What is in the file, or in the module of an archive."""
    file = file_of(path)
    if file == path:
        with open(path, "rb") as module:
            return module.read()
    with zipfile.ZipFile(file) as archive:
        return archive.read(os.path.relpath(path, file))


def lazily_imported(files: set[str], root: str) -> set[str]:
    """Workspace modules that the code of `files` imports only when it runs (inside functions), and what those import."""
    found: set[str] = set()
    pending = [name for name in files if name.endswith(".py")]
    while pending:
        path = pending.pop()
        for name in _imports(path, root):
            for file in _resolve(name, root):
                if file not in files and file not in found:
                    found.add(file)
                    pending.append(file)
    return found


def _imports(path: str, root: str) -> set[str]:
    try:
        tree = ast.parse(source_of(path))
    except (OSError, SyntaxError, ValueError, RecursionError, KeyError, zipfile.BadZipFile):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                folder = path
                for _ in range(node.level):
                    folder = os.path.dirname(folder)
                package = os.path.relpath(folder, root).replace(os.sep, ".")
                base = ".".join(part for part in ("" if package == "." else package, base) if part)
            names.update([base, *(f"{base}.{alias.name}" for alias in node.names)])
    return names


def _resolve(name: str, root: str) -> set[str]:
    parts = name.split(".")
    if not all(part.isidentifier() for part in parts):
        return set()
    prefix = os.path.join(root, "")
    for entry in sys.path:
        if entry != root and not entry.startswith(prefix):
            continue
        found: set[str] = set()
        folder = entry
        for part in parts:
            folder = os.path.join(folder, part)
            if os.path.isfile(package := os.path.join(folder, "__init__.py")):
                found.add(package)
            elif os.path.isfile(folder + ".py"):
                found.add(folder + ".py")
            elif not os.path.isdir(folder):
                break
        if found:
            return found
    return set()


def template_names(dag: Any, root: str, recorder: ReadRecorder) -> set[str]:
    """Template files of the DAG's tasks.

    Bagging a DAG has replaced the names in its fields by the files' text, so the files are known by having been read; what
    these and the fields include is looked up here.
    """
    prefix = os.path.join(root, "")
    endings = tuple({end for task in dag.tasks for end in (task.template_ext or ()) if end})
    found = {name for name in recorder.files if endings and name.endswith(endings)}
    environment = dag.get_template_env()
    loader = environment.loader
    pending: list[str] = []
    for name in found:
        with open(name, encoding="utf-8", errors="replace") as file:
            pending.append(file.read())
    for task in dag.tasks:
        for field in task.template_fields or ():
            value = _field(task, field)
            if isinstance(value, str) and "{%" in value:
                pending.append(value)
    while pending and loader is not None:
        for reference in _references(environment, pending.pop()):
            try:
                text, path, _ = loader.get_source(environment, reference)
            except Exception:
                continue
            if path and path.startswith(prefix) and path not in found:
                found.add(path)
                pending.append(text)
    return found


def _field(task: Any, name: str) -> Any:
    if getattr(task, "is_mapped", False) or hasattr(task, "partial_kwargs"):
        return task.partial_kwargs.get(name)
    return getattr(task, name, None)


def _references(environment: Any, text: str) -> list[str]:
    if "{%" not in text:
        return []
    try:
        return [name for name in meta.find_referenced_templates(environment.parse(text)) if name]
    except Exception:
        return []
