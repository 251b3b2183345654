"""`/ws`: the messages about the queue and about a client's own prompts."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import uuid
from typing import Dict

from server import PromptServer
from stand_in.http import Request, Response, Upgrade, text_response
from stand_in.routing import RouteTable
from stand_in.websocket import WebSocket, is_upgrade


def server_features(arguments: argparse.Namespace) -> Dict[str, object]:
    return {"supports_preview_metadata": True, "max_upload_size": round(arguments.max_upload_size * 1024 * 1024)}


def add_routes(routes: RouteTable, server: PromptServer, arguments: argparse.Namespace) -> None:
    @routes.get("/ws")
    async def websocket(request: Request) -> Response:
        if not is_upgrade(request):
            asked_for = request.headers.get("upgrade")
            return text_response(f'No WebSocket UPGRADE hdr: {asked_for}\n Can "Upgrade" only to "WebSocket".', 400)

        async def take_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            socket = WebSocket(reader, writer)
            socket.accept(request)
            await _converse(server, socket, request.query.get("clientId", ""), server_features(arguments))

        return Upgrade(take_over=take_over)


async def _converse(server: PromptServer, socket: WebSocket, sid: str, features: Dict[str, object]) -> None:
    """Serves one socket. A second socket of a client replaces the first, which stays open and gets nothing more."""
    sid = sid or uuid.uuid4().hex
    server.sockets[sid] = socket
    try:
        _send(socket, "status", {"status": server.get_queue_info(), "sid": sid})
        if server.client_id == sid and server.last_node_id is not None:
            _send(socket, "executing", {"node": server.last_node_id})
        is_first = True
        async for text in socket.messages():
            try:
                message = json.loads(text)
            except ValueError:
                logging.warning(f"Invalid JSON received from client {sid}: {text!r}")
                continue
            if is_first and isinstance(message, dict) and message.get("type") == "feature_flags":
                _send(socket, "feature_flags", features)
            is_first = False
    finally:
        # By the client's name, not by the socket: when the first of two sockets closes, the second is forgotten with
        # it. ComfyUI does so, and clients and proxies have to live with it.
        server.sockets.pop(sid, None)


def _send(socket: WebSocket, kind: str, data: Dict[str, object]) -> None:
    socket.send(json.dumps({"type": kind, "data": data}))
