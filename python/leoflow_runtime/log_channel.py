"""Logging is set up once, before any fork, on a file descriptor that each child replaces by its own connection.

Setting it up in each child costs 3 ms and a copy of every page that holds a logger.
"""

from __future__ import annotations

import os
import socket

from leoflow_runtime import compat

_fd = -1


def open_channel() -> None:
    global _fd
    _fd = os.open(os.devnull, os.O_WRONLY)
    compat.set_up_logging(_fd)


def log_to(connection: socket.socket) -> None:
    os.dup2(connection.fileno(), _fd, inheritable=False)
    connection.close()


def write(line: bytes) -> None:
    """Put a record on the channel, among those of the loggers."""
    rest = memoryview(line)
    while rest:
        rest = rest[os.write(_fd, rest) :]
