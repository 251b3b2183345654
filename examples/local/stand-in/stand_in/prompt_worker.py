"""The one thread that runs prompts, one after the other, and tells clients how far they are."""

from __future__ import annotations

import logging
import time
import traceback
from typing import Any, Dict, List, Optional, Tuple

import comfy.model_management
import nodes
from server import PromptServer
from stand_in.execution_order import ExecutionOrder
from stand_in.node_calls import Inputs, accepted_names, constants_of, hidden_of, run_node
from stand_in.output_cache import OutputCache, Returned
from stand_in.progress import Progress
from stand_in.prompt_queue import Item
from stand_in.validation import is_link, type_name

Messages = List[Tuple[str, Dict[str, Any]]]


def run(server: PromptServer) -> None:
    """Works until the process ends."""
    worker = PromptWorker(server)
    queue = server.prompt_queue
    while True:
        item = queue.get()
        if queue.take_free_memory():
            worker.forget()
        started = time.perf_counter()
        result, status = worker.execute(item)
        queue.done(item, result, status)
        if server.client_id is not None:
            server.send_sync("executing", {"node": None, "prompt_id": item.prompt_id}, server.client_id)
        logging.info(f"Prompt executed in {time.perf_counter() - started:.2f} seconds")


class PromptWorker:
    def __init__(self, server: PromptServer) -> None:
        self._server = server
        self._cache = OutputCache()
        # Node id and class → the object, which lives as long as prompts go on having the node.
        self._objects: Dict[Tuple[str, str], Any] = {}

    def forget(self) -> None:
        self._cache.clear()
        self._objects = {}

    def execute(self, item: Item) -> Tuple[Dict[str, Any], Dict[str, Any]]:
        """Runs a prompt to its end, whatever that is, and returns its outputs and its status for the history."""
        comfy.model_management.interrupt_current_processing(False)
        self._server.client_id = item.extra_data.get("client_id")
        self._server.last_prompt_id = item.prompt_id
        self._server.last_node_id = None
        run_of_prompt = _Run(self._server, item, self._cache, self._objects_of(item))
        succeeded = run_of_prompt.execute()
        self._server.last_node_id = None
        status = {
            "status_str": "success" if succeeded else "error",
            "completed": succeeded,
            "messages": run_of_prompt.messages,
        }
        return run_of_prompt.shown(), status

    def _objects_of(self, item: Item) -> Dict[Tuple[str, str], Any]:
        present = {(node_id, node["class_type"]) for node_id, node in item.prompt.items()}
        self._objects = {key: node for key, node in self._objects.items() if key in present}
        return self._objects


class _Run:
    """One prompt while it runs."""

    def __init__(
        self, server: PromptServer, item: Item, cache: OutputCache, objects: Dict[Tuple[str, str], Any]
    ) -> None:
        self.messages: Messages = []
        self._server = server
        self._item = item
        self._cache = cache
        self._objects = objects
        self._executed: List[str] = []

    def execute(self) -> bool:
        """Whether every output was made."""
        item = self._item
        self._tell("execution_start", {"prompt_id": item.prompt_id})
        self._cache.begin(item)
        cached = [node_id for node_id in item.prompt if self._cache.get(node_id) is not None]
        self._tell("execution_cached", {"nodes": cached, "prompt_id": item.prompt_id})
        order = ExecutionOrder(item.prompt, item.outputs_to_execute, lambda node_id: node_id in cached)
        progress = Progress(self._server, item.prompt_id)
        while True:
            node_id = order.next()
            if node_id is None:
                break
            if not self._run(node_id, progress):
                return False
            order.done(node_id)
        self._tell("execution_success", {"prompt_id": item.prompt_id})
        return True

    def shown(self) -> Dict[str, Any]:
        """What the nodes of the prompt have shown, cached ones included."""
        outputs, meta = {}, {}
        for node_id in self._item.prompt:
            returned = self._cache.get(node_id)
            if returned is not None and returned.ui is not None:
                outputs[node_id] = returned.ui
                meta[node_id] = {
                    "node_id": node_id,
                    "display_node": node_id,
                    "parent_node": None,
                    "real_node_id": node_id,
                }
        return {"outputs": outputs, "meta": meta}

    def _run(self, node_id: str, progress: Progress) -> bool:
        returned = self._cache.get(node_id)
        if returned is not None:
            self._send_executed(node_id, returned.ui)
            progress.finish(node_id)
            return True
        class_type = self._item.prompt[node_id]["class_type"]
        node_class = nodes.NODE_CLASS_MAPPINGS[class_type]
        inputs: Optional[Inputs] = None
        self._server.last_node_id = node_id
        try:
            inputs = self._inputs_of(node_id, node_class)
            progress.start(node_id)
            self._send("executing", {"node": node_id, "display_node": node_id})
            key = (node_id, class_type)
            if key not in self._objects:
                self._objects[key] = node_class()
            stop_if_interrupted = comfy.model_management.throw_exception_if_processing_interrupted
            values, ui = run_node(self._objects[key], node_class, inputs, stop_if_interrupted)
        except comfy.model_management.InterruptProcessingException:
            logging.info("Processing interrupted")
            interrupted = {**self._where(node_id), "executed": self._executed}
            self._tell("execution_interrupted", interrupted, even_without_client=True)
            return False
        except Exception as error:
            self._report(error, node_id, inputs)
            return False
        self._cache.put(node_id, Returned(values, ui))
        if ui is not None:
            self._send_executed(node_id, ui)
        progress.finish(node_id)
        self._executed.append(node_id)
        return True

    def _inputs_of(self, node_id: str, node_class: Any) -> Inputs:
        constants = constants_of(node_id, node_class, self._item)
        inputs: Inputs = {name: [value] for name, value in constants.items()}
        accepted = accepted_names(node_class)
        for name, value in self._item.prompt[node_id]["inputs"].items():
            if name not in accepted or not is_link(value):
                continue
            source, index = value
            returned = self._cache.get(source)
            if returned is None or index >= len(returned.values):
                raise RuntimeError(f"node {source} has not returned its output {index}")
            inputs[name] = returned.values[index]
        hidden = hidden_of(node_id, node_class, self._item)
        return {**inputs, **{name: [value] for name, value in hidden.items()}}

    def _report(self, error: Exception, node_id: str, inputs: Optional[Inputs]) -> None:
        logging.error(f"!!! Exception during processing !!! {error}")
        logging.error(traceback.format_exc())
        shown_inputs = {name: [_shown(value) for value in values] for name, values in (inputs or {}).items()}
        self._tell(
            "execution_error",
            {
                **self._where(node_id),
                "executed": self._executed,
                "exception_message": f"{error}\n",
                "exception_type": type_name(error),
                "traceback": traceback.format_tb(error.__traceback__),
                "current_inputs": shown_inputs,
                "current_outputs": list(self._item.prompt),
            },
        )

    def _where(self, node_id: str) -> Dict[str, Any]:
        class_type = self._item.prompt[node_id]["class_type"]
        return {"prompt_id": self._item.prompt_id, "node_id": node_id, "node_type": class_type}

    def _tell(self, event: str, data: Dict[str, Any], even_without_client: bool = False) -> None:
        """A message that also goes into the history. One of a prompt without a client reaches nobody, or everybody."""
        data = {**data, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, data))
        if self._server.client_id is not None or even_without_client:
            self._server.send_sync(event, data, self._server.client_id)

    def _send(self, event: str, data: Dict[str, Any]) -> None:
        if self._server.client_id is not None:
            self._server.send_sync(event, {**data, "prompt_id": self._item.prompt_id}, self._server.client_id)

    def _send_executed(self, node_id: str, ui: Optional[Dict[str, Any]]) -> None:
        self._send("executed", {"node": node_id, "display_node": node_id, "output": ui})


def _shown(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
