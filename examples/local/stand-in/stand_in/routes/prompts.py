"""Prompts: posting them, the queue, results, and stopping them."""

from __future__ import annotations

import argparse
import json
import logging
import uuid
from typing import Any, Dict

import comfy.model_management
from server import PromptServer
from stand_in import validation
from stand_in.http import Request, Response, json_response
from stand_in.prompt_queue import Item
from stand_in.routing import RouteTable


def add_routes(routes: RouteTable, server: PromptServer, _arguments: argparse.Namespace) -> None:
    queue = server.prompt_queue

    @routes.get("/prompt")
    async def get_prompt(_request: Request) -> Dict[str, Any]:
        return server.get_queue_info()

    @routes.post("/prompt")
    async def post_prompt(request: Request) -> Response:
        logging.info("got prompt")
        posted = await request.json()
        for handler in server.on_prompt_handlers:
            posted = handler(posted)
        number = _take_number(server, posted)
        if "prompt" not in posted:
            error = validation.problem("no_prompt", "No prompt provided", "No prompt provided")
            return json_response({"error": error, "node_errors": {}}, 400)
        prompt = posted["prompt"]
        result = validation.validate_prompt(prompt, posted.get("partial_execution_targets"))
        if result.error is not None:
            logging.warning(f"invalid prompt: {result.error}")
            return json_response({"error": result.error, "node_errors": result.node_errors}, 400)
        prompt_id = str(posted.get("prompt_id", uuid.uuid4()))
        extra_data = dict(posted.get("extra_data", {}))
        if "client_id" in posted:
            extra_data["client_id"] = posted["client_id"]
        queue.put(Item(number, prompt_id, prompt, extra_data, result.good_outputs))
        return json_response({"prompt_id": prompt_id, "number": number, "node_errors": result.node_errors})

    @routes.get("/queue")
    async def get_queue(_request: Request) -> Dict[str, Any]:
        running, waiting = queue.current()
        return {"queue_running": running, "queue_pending": waiting}

    @routes.post("/queue")
    async def post_queue(request: Request) -> Response:
        wanted = await request.json()
        if wanted.get("clear"):
            queue.clear_waiting()
        for prompt_id in wanted.get("delete", []):
            queue.delete_waiting(prompt_id)
        return Response()

    @routes.get("/history")
    async def get_history(request: Request) -> Dict[str, Any]:
        max_items = request.query.get("max_items")
        return queue.history(int(max_items) if max_items else None, int(request.query.get("offset", -1)))

    @routes.get("/history/{prompt_id}")
    async def get_history_of(request: Request) -> Dict[str, Any]:
        return queue.history_of(request.match_info["prompt_id"])

    @routes.post("/history")
    async def post_history(request: Request) -> Response:
        wanted = await request.json()
        if wanted.get("clear"):
            queue.clear_history()
        for prompt_id in wanted.get("delete", []):
            queue.delete_history(prompt_id)
        return Response()

    @routes.post("/interrupt")
    async def post_interrupt(request: Request) -> Response:
        try:
            prompt_id = (await request.json()).get("prompt_id")
        except json.JSONDecodeError:
            prompt_id = None
        if not prompt_id:
            logging.info("Global interrupt (no prompt_id specified)")
            comfy.model_management.interrupt_current_processing()
        elif any(item.prompt_id == prompt_id for item in queue.current()[0]):
            logging.info(f"Interrupting prompt {prompt_id}")
            comfy.model_management.interrupt_current_processing()
        else:
            logging.info(f"Prompt {prompt_id} is not currently running, skipping interrupt")
        return Response()

    @routes.post("/free")
    async def post_free(request: Request) -> Response:
        if (await request.json()).get("free_memory"):
            queue.ask_to_free_memory()
        return Response()


def _take_number(server: PromptServer, posted: Dict[str, Any]) -> float:
    """A prompt's place in the queue: the smallest runs first, so a negative one goes to the front."""
    if "number" in posted:
        return float(posted["number"])
    number = -server.number if posted.get("front") else server.number
    server.number += 1
    return number
