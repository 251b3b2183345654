"""Calling nodes: what they are given, and what their answers mean."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Callable, Dict, List, Optional, Set, Tuple

from stand_in.prompt_queue import Item
from stand_in.validation import is_link

# Input name → the values that reach it: one, or as many as the linked node's list output has.
Inputs = Dict[str, List[Any]]


def accepted_names(node_class: Any) -> Set[str]:
    """Inputs that a class declares; a workflow may have more, which are passed over."""
    declared = node_class.INPUT_TYPES()
    return {*declared.get("required", {}), *declared.get("optional", {})}


def constants_of(node_id: str, node_class: Any, item: Item) -> Dict[str, Any]:
    accepted = accepted_names(node_class)
    inputs = item.prompt[node_id]["inputs"]
    return {name: value for name, value in inputs.items() if name in accepted and not is_link(value)}


def hidden_of(node_id: str, node_class: Any, item: Item) -> Dict[str, Any]:
    """What a class asks the server for, rather than the workflow."""
    answers = {
        "PROMPT": item.prompt,
        "EXTRA_PNGINFO": item.extra_data.get("extra_pnginfo"),
        "UNIQUE_ID": node_id,
    }
    declared = node_class.INPUT_TYPES().get("hidden", {})
    kinds = {name: kind[0] if isinstance(kind, (list, tuple)) else kind for name, kind in declared.items()}
    return {name: answers[kind] for name, kind in kinds.items() if kind in answers}


def call(function: Callable[..., Any], inputs: Dict[str, Any]) -> Any:
    """Calls a node's function, plain or async, on this thread."""
    answer = function(**inputs)
    return asyncio.run(_finish(answer)) if inspect.isawaitable(answer) else answer


def run_node(
    node: Any, node_class: Any, inputs: Inputs, before_each_call: Callable[[], None]
) -> Tuple[List[List[Any]], Optional[Dict[str, Any]]]:
    """Calls the node once for each element of its longest input, and joins what it returns: values and `ui`."""
    function = getattr(node, node_class.FUNCTION)
    if getattr(node_class, "INPUT_IS_LIST", False):
        calls: List[Dict[str, Any]] = [dict(inputs)]
    else:
        # A shorter input's last value counts for all calls that follow.
        longest = max((len(values) for values in inputs.values()), default=1)
        calls = [
            {name: values[min(index, len(values) - 1)] for name, values in inputs.items()} for index in range(longest)
        ]
    results, shown = [], []
    for arguments in calls:
        before_each_call()
        result, ui = _parts_of(call(function, arguments))
        if result is not None:
            results.append(result)
        if ui is not None:
            shown.append(ui)
    joined = {name: [value for ui in shown for value in ui[name]] for name in shown[0]} if shown else None
    return _join(results, node_class), joined or None


async def _finish(answer: Any) -> Any:
    return await answer


def _parts_of(answer: Any) -> Tuple[Optional[Tuple[Any, ...]], Optional[Dict[str, Any]]]:
    if not isinstance(answer, dict):
        return answer, None
    if "expand" in answer:
        raise NotImplementedError("the stand-in does not run nodes that expand into other nodes")
    return answer.get("result"), answer.get("ui")


def _join(results: List[Tuple[Any, ...]], node_class: Any) -> List[List[Any]]:
    if not results:
        return []
    is_list = getattr(node_class, "OUTPUT_IS_LIST", None) or [False] * len(results[0])
    return [
        [value for result in results for value in (result[index] if joined else [result[index]])]
        for index, joined in enumerate(is_list)
    ]
