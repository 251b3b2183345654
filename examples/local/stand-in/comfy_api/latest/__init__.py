"""`from comfy_api.latest import ComfyExtension, io`: node classes that declare a schema."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import List, Type

from . import _io as io

IO = io

__all__ = ["ComfyExtension", "IO", "io"]


class ComfyExtension(ABC):
    """What a plugin's `comfy_entrypoint` returns."""

    async def on_load(self) -> None:
        """Called once, before the nodes are asked for."""

    @abstractmethod
    async def get_node_list(self) -> List[Type[io.ComfyNode]]:
        """The plugin's node classes."""
