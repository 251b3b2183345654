"""Which node of a prompt runs next."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Optional, Set

import nodes
from stand_in.node_calls import accepted_names
from stand_in.validation import is_link

Prompt = Dict[str, Any]


class ExecutionOrder:
    """The outputs of a prompt with all that they need, each given out once what it needs is there.

    What is cached is not run, so a cached node is given out only when it is an output itself: clients hear of it.
    """

    def __init__(self, prompt: Prompt, outputs: List[str], is_cached: Callable[[str], bool]) -> None:
        self._prompt = prompt
        self._needs: Dict[str, Set[str]] = {}
        pending = list(outputs)
        while pending:
            node_id = pending.pop(0)
            if node_id not in self._needs:
                needed = [source for source in _sources(prompt, node_id) if not is_cached(source)]
                self._needs[node_id] = set(needed)
                pending += needed

    def next(self) -> Optional[str]:
        """None when all is done. Outputs come first, then what an output waits for: pictures are seen early."""
        ready = [node_id for node_id, needs in self._needs.items() if not needs]
        if not ready:
            return None
        awaited = {source for node_id, needs in self._needs.items() if self._is_output(node_id) for source in needs}
        return min(ready, key=lambda node_id: (not self._is_output(node_id), node_id not in awaited))

    def done(self, node_id: str) -> None:
        del self._needs[node_id]
        for needs in self._needs.values():
            needs.discard(node_id)

    def _is_output(self, node_id: str) -> bool:
        return bool(getattr(nodes.NODE_CLASS_MAPPINGS[self._prompt[node_id]["class_type"]], "OUTPUT_NODE", False))


def _sources(prompt: Prompt, node_id: str) -> List[str]:
    node = prompt[node_id]
    accepted = accepted_names(nodes.NODE_CLASS_MAPPINGS[node["class_type"]])
    return [value[0] for name, value in node["inputs"].items() if name in accepted and is_link(value)]
