"""`/internal/…`: the log and the folders. These have no second name under `/api`."""

from __future__ import annotations

import os
import shutil
from typing import Any, Dict, List, Optional, Set

import folder_paths
from server import PromptServer
from stand_in import captured_output
from stand_in.captured_output import Entry
from stand_in.http import Request, Response, json_response
from stand_in.routing import RouteTable


class LogSubscriptions:
    """Sends what is written to the log to the clients that asked for it."""

    def __init__(self, server: PromptServer) -> None:
        self._server = server
        self._clients: Set[str] = set()
        self._size: Optional[Dict[str, int]] = None
        captured_output.listen(self._written)

    def subscribe(self, client_id: str, enabled: bool) -> None:
        if enabled:
            self._clients.add(client_id)
        else:
            self._clients.discard(client_id)

    def terminal_size(self) -> Dict[str, int]:
        columns, rows = shutil.get_terminal_size()
        return {"cols": columns, "rows": rows}

    def _written(self, entries: List[Entry]) -> None:
        if not self._clients:
            return
        size = self.terminal_size()
        data = {"entries": entries, "size": None if size == self._size else size}
        self._size = size
        for client_id in list(self._clients):
            if client_id in self._server.sockets:
                self._server.send_sync("logs", data, client_id)
            else:
                self._clients.discard(client_id)


def add_routes(routes: RouteTable, server: PromptServer) -> None:
    subscriptions = LogSubscriptions(server)

    @routes.get("/internal/logs")
    async def get_log(_request: Request) -> Response:
        return json_response("".join(f"{entry['t']} - {entry['m']}" for entry in list(captured_output.entries)))

    @routes.get("/internal/logs/raw")
    async def get_log_entries(_request: Request) -> Dict[str, Any]:
        return {"entries": list(captured_output.entries), "size": subscriptions.terminal_size()}

    @routes.patch("/internal/logs/subscribe")
    async def subscribe(request: Request) -> Response:
        wanted = await request.json()
        subscriptions.subscribe(wanted["clientId"], wanted["enabled"])
        return Response()

    @routes.get("/internal/folder_paths")
    async def get_folder_paths(_request: Request) -> Dict[str, List[str]]:
        return {kind: folders for kind, (folders, _) in folder_paths.folder_names_and_paths.items()}

    @routes.get("/internal/files/{kind}")
    async def get_files(request: Request) -> Response:
        folder = folder_paths.get_directory_by_type(request.match_info["kind"])
        if folder is None:
            return json_response({"error": "Invalid directory type"}, 400)
        files = [entry for entry in os.scandir(folder) if entry.is_file() and not entry.name.startswith(".")]
        newest_first = sorted(files, key=lambda entry: -entry.stat().st_mtime)
        return json_response([entry.name for entry in newest_first])
