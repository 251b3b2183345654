"""Schemas of nodes: their inputs, outputs and what they are called.

A class with a schema answers to the names of the older interface (`INPUT_TYPES`, `RETURN_TYPES`, …) too, so whatever
validates and runs nodes need not know which sort it has.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field
from enum import Enum
from types import SimpleNamespace
from typing import Any, Dict, List, Optional, Sequence, Tuple


class Hidden(str, Enum):
    unique_id = "UNIQUE_ID"
    prompt = "PROMPT"
    extra_pnginfo = "EXTRA_PNGINFO"


class Input:
    """An input of a type; `options` is all that its interface shows: default, limits, tooltip."""

    io_type = "*"

    def __init__(
        self,
        id: str,
        display_name: Optional[str] = None,
        optional: bool = False,
        tooltip: Optional[str] = None,
        **options: Any,
    ) -> None:
        self.id = id
        self.optional = optional
        given = {"display_name": display_name, "tooltip": tooltip, **options}
        self.options = {_option_name(name): value for name, value in given.items() if value is not None}

    def declaration(self) -> Tuple[Any, Dict[str, Any]]:
        return self.io_type, self.options


class ComboInput(Input):
    io_type = "COMBO"

    def __init__(self, id: str, options: Optional[Sequence[str]] = None, **others: Any) -> None:
        super().__init__(id, **others)
        self.options["options"] = list(options or [])


class Output:
    io_type = "*"

    def __init__(
        self,
        id: Optional[str] = None,
        display_name: Optional[str] = None,
        tooltip: Optional[str] = None,
        is_output_list: bool = False,
    ) -> None:
        self.id = id
        self.display_name = display_name
        self.tooltip = tooltip
        self.is_output_list = is_output_list


def Custom(io_type: str) -> Any:
    """A type of values: its `Input` and its `Output`."""
    return SimpleNamespace(
        io_type=io_type,
        Input=type("Input", (Input,), {"io_type": io_type}),
        Output=type("Output", (Output,), {"io_type": io_type}),
    )


Int, Float, String, Boolean = (Custom(name) for name in ("INT", "FLOAT", "STRING", "BOOLEAN"))
Image, Mask, Latent, Conditioning = (Custom(name) for name in ("IMAGE", "MASK", "LATENT", "CONDITIONING"))
Model, Clip, Vae, AnyType = (Custom(name) for name in ("MODEL", "CLIP", "VAE", "*"))
Combo = SimpleNamespace(io_type="COMBO", Input=ComboInput, Output=type("Output", (Output,), {"io_type": "COMBO"}))


@dataclass
class Schema:
    node_id: str
    display_name: Optional[str] = None
    category: str = "sd"
    inputs: List[Input] = field(default_factory=list)
    outputs: List[Output] = field(default_factory=list)
    hidden: List[Hidden] = field(default_factory=list)
    description: str = ""
    is_input_list: bool = False
    is_output_node: bool = False
    is_deprecated: bool = False
    is_experimental: bool = False
    is_api_node: bool = False
    not_idempotent: bool = False

    def __post_init__(self) -> None:
        if self.is_output_node:
            always = (Hidden.prompt, Hidden.extra_pnginfo)
            self.hidden = [*self.hidden, *(kind for kind in always if kind not in self.hidden)]


class NodeOutput:
    """What a node returns: its outputs in order, and what it shows."""

    def __init__(self, *args: Any, ui: Any = None) -> None:
        self.args = args
        self.ui = ui

    def as_answer(self) -> Dict[str, Any]:
        ui = self.ui.as_dict() if hasattr(self.ui, "as_dict") else self.ui
        return {"result": self.args, **({} if ui is None else {"ui": ui})}


class _FromSchema:
    """An attribute of a class, made from its schema when it is asked for."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def __get__(self, _instance: Any, owner: Any) -> Any:
        return self._read(owner.GET_SCHEMA())


class ComfyNode:
    """Base of V3 nodes: `define_schema` and `execute` are class methods, a node has no state of its own."""

    _schema: Schema
    hidden: Any = SimpleNamespace(unique_id=None, prompt=None, extra_pnginfo=None)

    FUNCTION = "run_with_schema"
    RETURN_TYPES = _FromSchema(lambda schema: [output.io_type for output in schema.outputs])
    RETURN_NAMES = _FromSchema(lambda schema: [output.display_name or output.io_type for output in schema.outputs])
    OUTPUT_IS_LIST = _FromSchema(lambda schema: [output.is_output_list for output in schema.outputs])
    OUTPUT_TOOLTIPS = _FromSchema(lambda schema: [output.tooltip for output in schema.outputs])
    OUTPUT_NODE = _FromSchema(lambda schema: schema.is_output_node)
    INPUT_IS_LIST = _FromSchema(lambda schema: schema.is_input_list)
    NOT_IDEMPOTENT = _FromSchema(lambda schema: schema.not_idempotent)
    CATEGORY = _FromSchema(lambda schema: schema.category)
    DESCRIPTION = _FromSchema(lambda schema: schema.description)

    @classmethod
    def define_schema(cls) -> Schema:
        raise NotImplementedError(f"{cls.__name__} does not define its schema")

    @classmethod
    def execute(cls, **inputs: Any) -> Any:
        raise NotImplementedError(f"{cls.__name__} has no execute")

    @classmethod
    def GET_SCHEMA(cls) -> Schema:
        # Of the class itself: a subclass has a schema of its own.
        if "_schema" not in cls.__dict__:
            cls._schema = cls.define_schema()
        return cls._schema

    @classmethod
    def INPUT_TYPES(cls) -> Dict[str, Any]:
        schema = cls.GET_SCHEMA()
        groups: Dict[str, Any] = {"required": {}}
        for one in schema.inputs:
            groups.setdefault("optional" if one.optional else "required", {})[one.id] = one.declaration()
        if schema.hidden:
            groups["hidden"] = {kind.name: (kind.value,) for kind in schema.hidden}
        return groups

    @classmethod
    async def run_with_schema(cls, **inputs: Any) -> Any:
        names = {kind.name for kind in cls.GET_SCHEMA().hidden}
        cls.hidden = SimpleNamespace(**{kind.name: inputs.get(kind.name) for kind in Hidden})
        answer = cls.execute(**{name: value for name, value in inputs.items() if name not in names})
        if inspect.isawaitable(answer):
            answer = await answer
        return answer.as_answer() if isinstance(answer, NodeOutput) else answer

    @classmethod
    def describe(cls, display_name: str, python_module: str) -> Dict[str, Any]:
        """The class as `/object_info` shows it."""
        schema, inputs = cls.GET_SCHEMA(), cls.INPUT_TYPES()
        return {
            "input": inputs,
            "input_order": {group: list(members) for group, members in inputs.items()},
            "output": cls.RETURN_TYPES,
            "output_is_list": cls.OUTPUT_IS_LIST,
            "output_name": cls.RETURN_NAMES,
            "output_tooltips": cls.OUTPUT_TOOLTIPS,
            "name": schema.node_id,
            "display_name": display_name,
            "description": schema.description,
            "python_module": python_module,
            "category": schema.category,
            "output_node": schema.is_output_node,
            "deprecated": schema.is_deprecated,
            "experimental": schema.is_experimental,
            "api_node": schema.is_api_node,
        }


def _option_name(name: str) -> str:
    """Options whose name in the interface differs from the parameter's."""
    return {"display_mode": "display", "force_input": "forceInput"}.get(name, name)
