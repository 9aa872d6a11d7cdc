"""What Python files name without running them: modules that are not installed, connections and variables."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import sys
import zipfile
from typing import Any

_JINJA = re.compile(r"\b(var)\.(?:value|json)\.(?:get\(\s*['\"])?([A-Za-z0-9_.-]+)|\b(conn)\.([A-Za-z_][A-Za-z0-9_]*)")
_JINJA_BLOCK = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)
_LOOK_UPS = {
    "get_connection": "connections",
    "get_hook": "connections",
    "Connection.get": "connections",
    "Variable.get": "variables",
}


def survey(request: dict[str, Any]) -> dict[str, dict[str, list[str]]]:
    """By path below `root`: names in order, each once. A file that is no Python names nothing: its parse says why."""
    root: str = request["root"]
    sys.path[:0] = [root]
    return {path: _survey(root, path) for path in request["paths"]}


def _survey(root: str, path: str) -> dict[str, list[str]]:
    found: dict[str, set[str]] = {"modules": set(), "connections": set(), "variables": set()}
    folder, sources = _sources(os.path.join(root, path))
    sys.path[:0] = [folder]
    for source in sources:
        try:
            tree = ast.parse(source)
        except (SyntaxError, ValueError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                found["modules"].update(alias.name for alias in node.names if not _is_there(alias.name))
            elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                if not _is_there(node.module):
                    found["modules"].add(node.module)
            elif isinstance(node, ast.Call):
                _look_at_call(node, found)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                _look_at_text(node.value, found)
    del sys.path[0]
    return {kind: sorted(names) for kind, names in found.items()}


def _sources(path: str) -> tuple[str, list[bytes]]:
    """Where modules beside the file are imported from, and its text; of an archive, that of its modules."""
    try:
        if path.endswith(".zip"):
            with zipfile.ZipFile(path) as archive:
                return path, [archive.read(name) for name in archive.namelist() if name.endswith(".py")]
        with open(path, "rb") as file:
            return os.path.dirname(path), [file.read()]
    except Exception:
        return os.path.dirname(path), []


def _is_there(module: str) -> bool:
    """Whether the module could be imported; its packages are, the module itself is not."""
    try:
        return importlib.util.find_spec(module) is not None
    except Exception:  # a package of it is missing, or fails
        return False


def _look_at_call(node: ast.Call, found: dict[str, set[str]]) -> None:
    name = _name_of(node.func)
    kind = next((kind for look_up, kind in _LOOK_UPS.items() if name == look_up or name.endswith("." + look_up)), None)
    first = next(
        (word.value for word in node.keywords if word.arg in ("key", "conn_id")), node.args[0] if node.args else None
    )
    if kind and isinstance(first, ast.Constant) and isinstance(first.value, str):
        # What has a default need not be there.
        if kind != "variables" or not any(word.arg in ("default", "default_var") for word in node.keywords):
            found[kind].add(first.value)
    for word in node.keywords:
        if word.arg and word.arg.endswith("conn_id") and isinstance(word.value, ast.Constant):
            if isinstance(word.value.value, str) and "{" not in word.value.value:
                found["connections"].add(word.value.value)


def _name_of(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _look_at_text(text: str, found: dict[str, set[str]]) -> None:
    for block in _JINJA_BLOCK.findall(text):
        for match in _JINJA.finditer(block):
            if match.group(1):
                found["variables"].add(match.group(2).rstrip("."))
            elif match.group(4) not in ("get", "value"):
                found["connections"].add(match.group(4))
