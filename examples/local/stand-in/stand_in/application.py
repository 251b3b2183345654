"""The server: its routes with and without `/api`, the check of origins, and what becomes of errors."""

from __future__ import annotations

import argparse
import asyncio
import logging
import traceback
from urllib.parse import urlsplit

from server import PromptServer
from stand_in import http
from stand_in.http import Request, Response
from stand_in.routes import files, information, internal, prompts, sockets, user_data
from stand_in.routing import RouteTable, call

_API = "/api"


class Application:
    def __init__(self, server: PromptServer, arguments: argparse.Namespace) -> None:
        self._server = server
        self._arguments = arguments
        self._largest_body = round(arguments.max_upload_size * 1024 * 1024)
        # Apart from the others since it has no second name under /api.
        self._internal = RouteTable()
        internal.add_routes(self._internal, server)
        for module in (information, prompts, files, sockets, user_data):
            module.add_routes(server.routes, server, arguments)

    async def serve(self) -> None:
        """Opens the port, says so, and answers until the process ends. Raises OSError when the port is taken."""
        addresses = [address.strip() for address in self._arguments.listen.split(",")]
        servers = [
            await asyncio.start_server(self._connected, address, self._arguments.port, limit=64 * 1024)
            for address in addresses
        ]
        for address, listening in zip(addresses, servers):
            port = listening.sockets[0].getsockname()[1]
            shown = f"[{address}]" if ":" in address else address
            logging.info(f"To see the GUI go to: http://{shown}:{port}")
        await asyncio.gather(*(listening.serve_forever() for listening in servers))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await http.serve_connection(reader, writer, self._handle, self._largest_body)

    async def _handle(self, request: Request) -> Response:
        allowed_origin = self._arguments.enable_cors_header
        if allowed_origin is None and _comes_from_another_site(request):
            return Response(status=403)
        response = Response() if request.method == "OPTIONS" else await self._answer(request)
        if allowed_origin is not None:
            response.headers.update(
                {
                    "Access-Control-Allow-Origin": allowed_origin,
                    "Access-Control-Allow-Methods": "POST, GET, DELETE, PUT, OPTIONS, PATCH",
                    "Access-Control-Allow-Headers": "Content-Type, Authorization",
                    "Access-Control-Allow-Credentials": "true",
                }
            )
        return response

    async def _answer(self, request: Request) -> Response:
        path = request.path
        found = self._internal.find(request.method, path)
        if found[0] is None and not found[2]:
            found = self._server.routes.find(request.method, path)
        if found[0] is None and not found[2] and path.startswith(_API + "/"):
            found = self._server.routes.find(request.method, path[len(_API) :])
        endpoint, request.match_info, methods = found
        if endpoint is None:
            return _no_such_route(request, methods)
        try:
            return await call(endpoint, request)
        except Exception:
            logging.error(f"Error handling request from {request.remote}\n{traceback.format_exc().rstrip()}")
            return http.text_response("500 Internal Server Error\n\nServer got itself in trouble", 500)


def _no_such_route(request: Request, methods: list) -> Response:
    """Files of the page are looked for at any path, so a path that is none is 404 for GET, and for others 405."""
    if request.method in ("GET", "HEAD"):
        return Response(status=404, content_type="application/octet-stream")
    response = http.text_response("405: Method Not Allowed", 405)
    response.headers["Allow"] = ",".join(sorted({*methods, "GET", "HEAD"}))
    return response


def _comes_from_another_site(request: Request) -> bool:
    """Whether a page of another site asks a server that is only for this machine: a browser lets it post."""
    host, origin = request.headers.get("host", "").lower(), request.headers.get("origin", "").lower()
    if not host or not origin:
        return False
    asked, asking = urlsplit(f"//{host}"), urlsplit(origin)
    if not _is_loopback(asked.hostname or ""):
        return False
    # Some browsers leave the port out on one side; then only the names are compared.
    if asking.port is None or asked.port is None:
        host, origin = asked.hostname or "", asking.hostname or ""
    else:
        origin = asking.netloc
    if not origin or host == origin:
        return False
    logging.warning(f"WARNING: request with non matching host and origin {host} != {origin}, returning 403")
    return True


def _is_loopback(name: str) -> bool:
    return name in ("localhost", "::1") or name.startswith("127.")
