"""What a task prints stands in its log where it was printed.

Airflow reads the standard streams and the log records from sockets of their own. Which is read first is chance, so a printed
line may land behind records that were logged later, in a group that the UI keeps folded. Here text written to `sys.stdout`
and `sys.stderr` takes the way of the records. What other code writes to the file descriptors still goes by the sockets.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import sys
import threading
from datetime import datetime, timezone
from typing import Any

from leoflow_runtime import log_channel

# As the agent cuts lines: one without an end must not fill the memory.
_LONGEST_LINE = 1 << 20


class LoggedStream(io.TextIOBase):
    """A text stream whose lines become log records. All but writing is up to the stream it stands for."""

    def __init__(self, stream: io.TextIOWrapper, logger: str, level: str) -> None:
        self._stream = stream
        self._fields = {"logger": logger}
        self._level = level
        self._unfinished = ""
        self._lock = threading.RLock()
        os.register_at_fork(after_in_child=self._forget_parents_text)
        atexit.register(self._finish)

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        with self._lock:
            *lines, self._unfinished = (self._unfinished + text).split("\n")
            if len(self._unfinished) > _LONGEST_LINE:
                lines.append(self._unfinished)
                self._unfinished = ""
            for line in lines:
                self._log(line)
        return len(text)

    def writable(self) -> bool:
        return True

    def flush(self) -> None:
        # A line is sent when it is complete, as Airflow's supervisor does; what bypassed this stream is sent now.
        self._stream.flush()

    def close(self) -> None:
        self._finish()
        self._stream.close()

    @property
    def closed(self) -> bool:
        return self._stream.closed

    def fileno(self) -> int:
        return self._stream.fileno()

    def isatty(self) -> bool:
        return False

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._stream.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        return self._stream.errors

    def __getattr__(self, name: str) -> Any:
        # buffer, mode, name, line_buffering, reconfigure, ...
        return getattr(self._stream, name)

    def _log(self, line: str) -> None:
        timestamp = datetime.now(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
        record = {"timestamp": timestamp, "level": self._level, "event": line.rstrip(), **self._fields}
        log_channel.write(json.dumps(record).encode() + b"\n")

    def _finish(self) -> None:
        with self._lock:
            if self._unfinished:
                self._log(self._unfinished)
                self._unfinished = ""

    def _forget_parents_text(self) -> None:
        self._lock = threading.RLock()
        self._unfinished = ""


def log_standard_streams() -> None:
    """Call it in the task's process, after its standard streams are open."""
    sys.stdout = LoggedStream(sys.stdout, "task.stdout", "info")  # type: ignore[arg-type, assignment]
    sys.stderr = LoggedStream(sys.stderr, "task.stderr", "error")  # type: ignore[arg-type, assignment]
