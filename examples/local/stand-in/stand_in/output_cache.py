"""What nodes returned for the last prompt, so that a node whose inputs are the same need not run again."""

from __future__ import annotations

import itertools
import logging
from dataclasses import dataclass
from typing import Any, Dict, Hashable, List, Optional

import nodes
from stand_in.node_calls import accepted_names, call, constants_of, hidden_of
from stand_in.prompt_queue import Item
from stand_in.validation import is_link


@dataclass
class Returned:
    """`values` has a list for each output; `ui` is what the node wants to be shown, None when it has nothing."""

    values: List[List[Any]]
    ui: Optional[Dict[str, Any]]


class OutputCache:
    """Knows a node by its class, its constants and what its links lead to; not by its id.

    As under ComfyUI, only what the present prompt can use is kept, so two workflows that take turns run in full.
    """

    def __init__(self) -> None:
        self._numbers: Dict[Hashable, int] = {}
        self._next_number = itertools.count()
        self._number_of_node: Dict[str, int] = {}
        self._returned: Dict[int, Returned] = {}

    def begin(self, item: Item) -> None:
        """Looks what of the cache fits the prompt, and forgets the rest."""
        known, self._numbers = self._numbers, {}
        self._number_of_node = {}
        # Other nodes of the prompt were not validated, and will not run.
        for node_id in item.outputs_to_execute:
            self._identify(node_id, item, known)
        in_use = set(self._number_of_node.values())
        self._returned = {number: returned for number, returned in self._returned.items() if number in in_use}

    def get(self, node_id: str) -> Optional[Returned]:
        """None, too, for a node that no output of the present prompt needs."""
        number = self._number_of_node.get(node_id)
        return None if number is None else self._returned.get(number)

    def put(self, node_id: str, returned: Returned) -> None:
        self._returned[self._number_of_node[node_id]] = returned

    def clear(self) -> None:
        self._numbers, self._returned = {}, {}

    def _identify(self, node_id: str, item: Item, known: Dict[Hashable, int]) -> int:
        """A number that stands for the node with all it depends on; equal nodes of two prompts have the same one."""
        if node_id in self._number_of_node:
            return self._number_of_node[node_id]
        node = item.prompt[node_id]
        node_class = nodes.NODE_CLASS_MAPPINGS[node["class_type"]]
        accepted = accepted_names(node_class)
        inputs: List[Hashable] = []
        for name, value in sorted(node["inputs"].items()):
            if name not in accepted:
                continue
            if is_link(value):
                inputs.append((name, "link", self._identify(value[0], item, known), value[1]))
            else:
                inputs.append((name, "constant", _hashable(value)))
        own_id = node_id if _depends_on_its_id(node_class) else None
        signature = (node["class_type"], own_id, _change_mark(node_id, node_class, item), tuple(inputs))
        number = self._numbers.get(signature, known.get(signature))
        if number is None:
            number = next(self._next_number)
        self._numbers[signature] = self._number_of_node[node_id] = number
        return number


def _depends_on_its_id(node_class: Any) -> bool:
    return getattr(node_class, "NOT_IDEMPOTENT", False) or "UNIQUE_ID" in _hidden_kinds(node_class)


def _hidden_kinds(node_class: Any) -> List[Any]:
    try:
        return list(node_class.INPUT_TYPES().get("hidden", {}).values())
    except Exception:
        # A class that cannot describe itself is refused when it is used; until then it is nobody's concern.
        return []


def _change_mark(node_id: str, node_class: Any, item: Item) -> Hashable:
    """What the class's own `IS_CHANGED` says; one that says NaN, or fails, counts as changed each time."""
    if not hasattr(node_class, "IS_CHANGED"):
        return None
    try:
        given = {**constants_of(node_id, node_class, item), **hidden_of(node_id, node_class, item)}
        mark = call(node_class.IS_CHANGED, given)
    except Exception as error:
        logging.warning(f"WARNING: {error}")
        return object()
    return object() if isinstance(mark, float) and mark != mark else _hashable(mark)


def _hashable(value: Any) -> Hashable:
    if isinstance(value, dict):
        return ("dict", frozenset((name, _hashable(part)) for name, part in value.items()))
    if isinstance(value, (list, tuple)):
        return ("list", tuple(_hashable(part) for part in value))
    # 1, 1.0 and True are equal keys of a dict, but not equal inputs.
    return (type(value).__name__, value) if isinstance(value, (bool, int, float, str, type(None))) else object()
