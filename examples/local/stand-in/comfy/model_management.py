"""How a running node learns that it is to stop."""

from __future__ import annotations

import threading

_interrupted = threading.Event()


class InterruptProcessingException(Exception):
    """Ends the running prompt; it is reported as interrupted, not as failed."""


def interrupt_current_processing(value: bool = True) -> None:
    if value:
        _interrupted.set()
    else:
        _interrupted.clear()


def processing_interrupted() -> bool:
    return _interrupted.is_set()


def throw_exception_if_processing_interrupted() -> None:
    """Raises once for each interrupt."""
    if _interrupted.is_set():
        _interrupted.clear()
        raise InterruptProcessingException()


def get_torch_device() -> str:
    return "cpu"


def soft_empty_cache(force: bool = False) -> None:
    """There is no device memory to give back."""
