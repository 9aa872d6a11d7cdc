"""What the operating system offers to keep processes from outliving those who started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LIBC = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Be killed when the process that forked us ends, however it ends (Linux; elsewhere the control socket's EOF does it)."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        # The parent may have died before the call above.
        if os.getppid() != parent:
            os._exit(137)


def live_on() -> None:
    """Undo `die_with_parent`."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that they are found when all is to end."""
    if _LIBC is not None:
        _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def return_free_memory() -> None:
    """Give pages that imports left free back to the system."""
    if _LIBC is not None and hasattr(_LIBC, "malloc_trim"):
        _LIBC.malloc_trim(0)


def be_first_out_of_memory() -> None:
    """Let the kernel take user code before the database, Leoflow and the zygotes when memory runs out."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("500")
    except OSError:
        pass


def own_group() -> None:
    """Lead a process group, so that a kill reaches what user code starts and a terminal's Ctrl-C does not."""
    try:
        os.setpgid(0, 0)
    except OSError:
        pass


def kill_group(pid: int, sig: int = signal.SIGKILL) -> None:
    try:
        os.killpg(pid, sig)
    except (ProcessLookupError, PermissionError):
        pass


def kill_tree(roots: Iterable[int]) -> None:
    """SIGKILL these processes, their groups and all their descendants, also those that left the group."""
    roots = list(roots)
    if not roots:
        return
    found = _descendants(roots)
    # Stopped first: what is killed one by one could fork while the others die.
    for pid in found:
        _send(pid, signal.SIGSTOP)
    for pid in {*found, *_descendants(roots)}:
        _send(pid, signal.SIGKILL)
    for pid in roots:
        kill_group(pid)


def _send(pid: int, sig: int) -> None:
    try:
        os.kill(pid, sig)
    except (ProcessLookupError, PermissionError):
        pass


def _descendants(roots: list[int]) -> list[int]:
    if not os.path.isdir("/proc/self"):
        return roots
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(name))
    found: list[int] = []
    pending = list(roots)
    while pending:
        pid = pending.pop()
        found.append(pid)
        pending.extend(children.get(pid, ()))
    return found
