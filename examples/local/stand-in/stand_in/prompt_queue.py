"""Prompts that wait, the one that runs, and what became of those that ran. All in memory: a restart forgets it."""

from __future__ import annotations

import heapq
import itertools
import threading
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Tuple

# ComfyUI's own limit; the oldest goes first.
_MOST_HISTORY = 10_000


class Item(NamedTuple):
    """A prompt as `/queue` and `/history` show it."""

    number: float
    prompt_id: str
    prompt: Dict[str, Any]
    extra_data: Dict[str, Any]
    outputs_to_execute: List[str]


class PromptQueue:
    """Shared by the server's thread and the worker's.

    `changed` is called after every change, on either thread and under the lock, so that what it tells clients comes in
    the order of the changes. It may ask the queue, and must not wait.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._condition = threading.Condition()
        self._waiting: List[Tuple[float, int, Item]] = []
        self._arrival = itertools.count()
        self._running: Optional[Item] = None
        self._history: Dict[str, Dict[str, Any]] = {}
        self._free_memory = False

    def put(self, item: Item) -> None:
        with self._condition:
            heapq.heappush(self._waiting, (item.number, next(self._arrival), item))
            self._changed()
            self._condition.notify()

    def get(self) -> Item:
        """Waits for the next prompt, which then counts as running."""
        with self._condition:
            self._condition.wait_for(lambda: self._waiting)
            self._running = heapq.heappop(self._waiting)[2]
            self._changed()
            return self._running

    def done(self, item: Item, result: Dict[str, Any], status: Dict[str, Any]) -> None:
        with self._condition:
            self._running = None
            while len(self._history) >= _MOST_HISTORY:
                del self._history[next(iter(self._history))]
            outputs, meta = result["outputs"], result["meta"]
            self._history[item.prompt_id] = {"prompt": item, "outputs": outputs, "status": status, "meta": meta}
            self._changed()

    def remaining(self) -> int:
        with self._condition:
            return len(self._waiting) + (self._running is not None)

    def current(self) -> Tuple[List[Item], List[Item]]:
        """The running prompt, if any, and the waiting ones in the order in which they will run."""
        with self._condition:
            return [self._running] if self._running else [], [item for _, _, item in sorted(self._waiting)]

    def clear_waiting(self) -> None:
        with self._condition:
            self._waiting = []
            self._changed()

    def delete_waiting(self, prompt_id: str) -> None:
        with self._condition:
            kept = [entry for entry in self._waiting if entry[2].prompt_id != prompt_id]
            if len(kept) == len(self._waiting):
                return
            heapq.heapify(kept)
            self._waiting = kept
            self._changed()

    def history(self, max_items: Optional[int] = None, offset: int = -1) -> Dict[str, Any]:
        """Results, oldest first; the last `max_items` of them, or as many from `offset` on."""
        with self._condition:
            entries = list(self._history.items())
        if max_items is None:
            max_items = len(entries)
        start = offset if offset >= 0 else max(0, len(entries) - max_items)
        return dict(entries[start : start + max_items])

    def history_of(self, prompt_id: str) -> Dict[str, Any]:
        with self._condition:
            return {prompt_id: self._history[prompt_id]} if prompt_id in self._history else {}

    def clear_history(self) -> None:
        with self._condition:
            self._history = {}

    def delete_history(self, prompt_id: str) -> None:
        with self._condition:
            self._history.pop(prompt_id, None)

    def ask_to_free_memory(self) -> None:
        with self._condition:
            self._free_memory = True

    def take_free_memory(self) -> bool:
        """Whether memory is to be freed; asking for it counts once."""
        with self._condition:
            asked, self._free_memory = self._free_memory, False
            return asked
