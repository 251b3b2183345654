"""The process's own output: written as ever, and its last entries kept for `/internal/logs`."""

from __future__ import annotations

import io
import logging
import sys
import threading
from collections import deque
from datetime import datetime
from typing import Any, Callable, Deque, Dict, List

Entry = Dict[str, str]

# ComfyUI keeps this many writes, and a reader may meet a log whose beginning is gone.
_KEPT_ENTRIES = 300

entries: Deque[Entry] = deque(maxlen=_KEPT_ENTRIES)
_listeners: List[Callable[[List[Entry]], None]] = []


class _RecordingStream(io.TextIOWrapper):
    """A standard stream that remembers what is written to it.

    It buffers as a stream into a file or pipe does: what a plugin prints to stdout may appear late, or, when the
    process is killed, never. That is ComfyUI's behaviour and part of what it teaches about its logs.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(
            stream.buffer, encoding=stream.encoding, errors=stream.errors, line_buffering=stream.line_buffering
        )
        self._lock = threading.Lock()
        self._since_flush: List[Entry] = []

    def write(self, text: str) -> int:
        entry = {"t": datetime.now().isoformat(), "m": text}
        with self._lock:
            entries.append(entry)
            self._since_flush.append(entry)
        return super().write(text)

    def flush(self) -> None:
        super().flush()
        with self._lock:
            written, self._since_flush = self._since_flush, []
        if written:
            for listener in _listeners:
                listener(written)


def install(level: str, use_stdout: bool) -> None:
    """Replaces the standard streams and sends the log to stderr, or with `use_stdout` all but errors to stdout."""
    sys.stdout = _RecordingStream(sys.stdout)
    sys.stderr = _RecordingStream(sys.stderr)
    root = logging.getLogger()
    root.setLevel(level)
    _add_handler(root, sys.stderr, lambda record: not use_stdout or record.levelno >= logging.ERROR)
    if use_stdout:
        _add_handler(root, sys.stdout, lambda record: record.levelno < logging.ERROR)


def listen(listener: Callable[[List[Entry]], None]) -> None:
    """Calls `listener`, on the thread that wrote, with what was written since the last flush."""
    _listeners.append(listener)


def _add_handler(logger: logging.Logger, stream: io.TextIOWrapper, wanted: Callable[[logging.LogRecord], bool]) -> None:
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(message)s"))
    handler.addFilter(wanted)
    logger.addHandler(handler)
