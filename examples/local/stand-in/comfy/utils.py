"""Progress of a running node, reported as under ComfyUI."""

from __future__ import annotations

from typing import Any, Callable, Optional

ProgressHook = Callable[[float, float, Optional[Any], Optional[str]], None]

_hook: Optional[ProgressHook] = None


def set_progress_bar_global_hook(hook: ProgressHook) -> None:
    global _hook
    _hook = hook


class ProgressBar:
    """Tells clients how far a node is. A report is also where an interrupt takes effect: it raises then."""

    def __init__(self, total: float, node_id: Optional[str] = None) -> None:
        self.total = total
        self.current: float = 0
        self.node_id = node_id

    def update_absolute(self, value: float, total: Optional[float] = None, preview: Any = None) -> None:
        if total is not None:
            self.total = total
        self.current = min(value, self.total)
        if _hook is not None:
            _hook(self.current, self.total, preview, self.node_id)

    def update(self, value: float) -> None:
        self.update_absolute(self.current + value)
