"""What plugins reach the server by: `PromptServer.instance`, its routes and its messages.

    from server import PromptServer

    @PromptServer.instance.routes.get("/my_plugin/hello")
    async def hello(request):
        return {"hello": request.query.get("name", "")}

A handler gets a `stand_in.http.Request` and returns a dict or list (sent as JSON), a text, a `stand_in.http.Response`
or any object with `status`, `body` and `content_type`, such as aiohttp's responses.
"""

from __future__ import annotations

import asyncio
import json
import struct
from typing import Any, Callable, Dict, Optional, Union

from stand_in.prompt_queue import PromptQueue
from stand_in.routing import RouteTable


class PromptServer:
    """One for each process. Its sockets are touched on the event loop's thread only."""

    instance: "PromptServer"

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        PromptServer.instance = self
        self.loop = loop
        self.routes = RouteTable()
        self.prompt_queue = PromptQueue(self.queue_updated)
        self.on_prompt_handlers: list = []
        self.supports = ["custom_nodes_from_web"]
        self.number = 0
        # Whose prompt runs, and where it is: messages about it go to this client alone.
        self.client_id: Optional[str] = None
        self.last_node_id: Optional[str] = None
        self.last_prompt_id: Optional[str] = None
        self.sockets: Dict[str, Any] = {}

    def add_on_prompt_handler(self, handler: Callable[[Dict[str, Any]], Dict[str, Any]]) -> None:
        """Lets a plugin change what was posted before it is looked at."""
        self.on_prompt_handlers.append(handler)

    def get_queue_info(self) -> Dict[str, Any]:
        return {"exec_info": {"queue_remaining": self.prompt_queue.remaining()}}

    def queue_updated(self) -> None:
        self.send_sync("status", {"status": self.get_queue_info()})

    def send_sync(self, event: Union[str, int], data: Any, sid: Optional[str] = None) -> None:
        """Sends to one client, or to all when `sid` is None. May be called from any thread; order is kept.

        A numbered event with bytes goes out as a binary message, the number first: that is how previews travel.
        """
        if isinstance(event, int):
            message: Union[str, bytes] = struct.pack(">I", event) + data
        else:
            message = json.dumps({"type": event, "data": data})
        self.loop.call_soon_threadsafe(self._deliver, message, sid)

    def _deliver(self, message: Union[str, bytes], sid: Optional[str]) -> None:
        sockets = list(self.sockets.values()) if sid is None else filter(None, [self.sockets.get(sid)])
        for socket in sockets:
            socket.send(message)
