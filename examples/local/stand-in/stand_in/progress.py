"""How far each node of the running prompt is, and telling clients so."""

from __future__ import annotations

from typing import Any, Dict, Optional

import comfy.model_management
import comfy.utils
from server import PromptServer

Report = Dict[str, Any]


class Progress:
    """Belongs to one run of one prompt."""

    def __init__(self, server: PromptServer, prompt_id: str) -> None:
        self._server = server
        self._prompt_id = prompt_id
        self._nodes: Dict[str, Report] = {}
        comfy.utils.set_progress_bar_global_hook(self._from_node)

    def start(self, node_id: str) -> None:
        self._report(node_id, value=0.0, max=1.0, state="running")

    def finish(self, node_id: str) -> None:
        self._report(node_id, value=self._nodes.get(node_id, {}).get("max", 1), state="finished")

    def _from_node(self, value: float, total: float, _preview: Optional[Any], node_id: Optional[str]) -> None:
        comfy.model_management.throw_exception_if_processing_interrupted()
        node_id = node_id or self._server.last_node_id
        if node_id is None:
            # A thread that a node left behind reports after its prompt has ended.
            return
        self._report(node_id, value=value, max=total)
        self._server.send_sync(
            "progress",
            {"value": value, "max": total, "prompt_id": self._prompt_id, "node": node_id},
            self._server.client_id,
        )

    def _report(self, node_id: str, **changes: Any) -> None:
        report = self._nodes.setdefault(
            node_id,
            {
                "value": 0,
                "max": 1,
                "state": "pending",
                "node_id": node_id,
                "prompt_id": self._prompt_id,
                "display_node_id": node_id,
                "parent_node_id": None,
                "real_node_id": node_id,
            },
        )
        report.update(changes)
        nodes = {node_id: dict(node) for node_id, node in self._nodes.items()}
        message = {"prompt_id": self._prompt_id, "nodes": nodes}
        self._server.send_sync("progress_state", message, self._server.client_id)
