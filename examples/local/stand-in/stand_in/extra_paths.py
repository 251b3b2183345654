"""Model folders outside the base folder, as `extra_model_paths.yaml` declares them."""

from __future__ import annotations

import argparse
import json
import logging
import os
from typing import Dict, List

import folder_paths

Configuration = Dict[str, Dict[str, str]]


def configuration_files(arguments: argparse.Namespace) -> List[str]:
    """The file beside the source when it is there, then those of the command line."""
    beside_source = os.path.join(folder_paths.source_directory, "extra_model_paths.yaml")
    named = [path for group in arguments.extra_model_paths_config for path in group]
    return ([beside_source] if os.path.isfile(beside_source) else []) + named


def load(path: str) -> None:
    """Adds the folders that a configuration file names; relative ones count from its `base_path` or its own folder."""
    with open(path, encoding="utf-8") as file:
        configuration = parse(file.read())
    beside = os.path.dirname(os.path.abspath(path))
    for section in configuration.values():
        settings = dict(section)
        base = settings.pop("base_path", "")
        is_default = str(settings.pop("is_default", "false")).lower() == "true"
        base = os.path.join(beside, os.path.expandvars(os.path.expanduser(base)))
        for kind, folders in settings.items():
            for folder in filter(None, folders.split("\n")):
                full = os.path.normpath(os.path.join(base, folder))
                logging.info(f"Adding extra search path {kind} {full}")
                folder_paths.add_model_folder_path(kind, full, is_default)


def parse(text: str) -> Configuration:
    """Reads the part of YAML that such files use: two levels, plain values, and `|` blocks. JSON is YAML too."""
    if text.lstrip().startswith("{"):
        return json.loads(text)
    configuration: Configuration = {}
    section: Dict[str, str] = {}
    block, block_indent = "", -1
    for line in text.splitlines():
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        if block and indent > block_indent:
            section[block] += content + "\n"
            continue
        block = ""
        key, colon, value = content.partition(":")
        if not colon:
            raise ValueError(f"{line!r} is not a `key: value` line of a model paths configuration")
        value = value.split(" #")[0].strip().strip("'\"")
        if indent == 0:
            section = configuration.setdefault(key, {})
        elif value == "|":
            section[key], block, block_indent = "", key, indent
        else:
            section[key] = value
    return configuration
