"""A stand-in for ComfyUI: this is NOT ComfyUI, and it computes no picture with a model.

It answers as ComfyUI 0.3.64 was recorded to answer (docs/comfyui-contract.md of pulumi-comfyui), imports plugins for
real and runs their nodes, with nothing but Python's standard library. A project can so be tried, and tested, on a
machine without ComfyUI, PyTorch and a GPU.

The modules beside this file that carry ComfyUI's names (`nodes`, `folder_paths`, `server`, `comfy`, `comfy_api`) are
what plugins import; everything else is in the package `stand_in`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading

from stand_in.arguments import parse_arguments

arguments = parse_arguments()

# ComfyUI makes its input folder while this module is imported, before its log is set up. Where that fails, the
# failure's own log line installs Python's default handler, and every later line is printed twice. So it is here.
import folder_paths  # noqa: E402
from stand_in import captured_output, extra_paths, plugins, version  # noqa: E402


def apply_folders() -> None:
    """Sets the folders that were asked for, in the order in which ComfyUI reports them."""
    for config in extra_paths.configuration_files(arguments):
        extra_paths.load(config)
    set_folder("output")
    # Where ComfyUI's nodes save models, and look for them.
    for kind in ("checkpoints", "clip", "vae", "diffusion_models", "loras"):
        folder_paths.add_model_folder_path(kind, os.path.join(folder_paths.get_output_directory(), kind))
    set_folder("input")
    set_folder("user")


def set_folder(kind: str) -> None:
    folder = getattr(arguments, f"{kind}_directory")
    if folder:
        folder = os.path.abspath(folder)
        logging.info(f"Setting {kind} directory to: {folder}")
        folder_paths.set_directory(kind, folder)


def log_machine() -> None:
    total = folder_paths.physical_memory()[0] // (1024 * 1024)
    logging.info("This is a stand-in, not ComfyUI: it answers as ComfyUI does, and runs plugins, but no models.")
    logging.info(f"Total VRAM {total} MB, total RAM {total} MB")
    logging.info("Set vram state to: DISABLED")
    logging.info("Device: cpu")
    logging.info(f"Python version: {sys.version}")
    logging.info(f"ComfyUI version: {version.COMFYUI_VERSION}")


def prepare_temporary_and_user_folder() -> None:
    if arguments.temp_directory:
        folder = os.path.join(os.path.abspath(arguments.temp_directory), "temp")
        logging.info(f"Setting temp directory to: {folder}")
        folder_paths.set_directory("temp", folder)
    folder_paths.remove_temporary_files()
    user = folder_paths.get_user_directory()
    if not os.path.exists(user):
        os.makedirs(user)
        logging.warning(
            "****** User settings have been changed to be stored on the server instead of browser storage. ******"
        )
        logging.warning(
            "****** For multi-user setups add the --multi-user CLI argument to enable multiple user profiles. ******"
        )


def prepare_database() -> None:
    """ComfyUI 0.3.64 creates its database empty and has no tables; only whether the file can be made shows."""
    url = arguments.database_url or "sqlite:///" + os.path.join(folder_paths.source_directory, "user", "comfyui.db")
    path = url.partition("sqlite:///")[2]
    if not path or path == ":memory:":
        return
    try:
        with open(path, "ab"):
            pass
    except OSError:
        logging.error(
            "Failed to initialize database. Please ensure you have installed the latest requirements. If the error "
            "persists, please report this as in future the database will be required: (sqlite3.OperationalError) "
            "unable to open database file"
        )


def main() -> None:
    captured_output.install(arguments.verbose, arguments.log_stdout)
    apply_folders()
    plugins.run_prestartup_scripts(arguments)
    log_machine()
    prepare_temporary_and_user_folder()

    from server import PromptServer
    from stand_in import prompt_worker
    from stand_in.application import Application

    logging.info(f"ComfyUI frontend version: {version.FRONTEND_VERSION}")
    logging.info(f"[Prompt Server] web root: {folder_paths.source_directory}")
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    server = PromptServer(loop)
    application = Application(server, arguments)
    loop.run_until_complete(plugins.load_all(arguments))
    prepare_database()
    threading.Thread(target=prompt_worker.run, args=(server,), daemon=True, name="prompts").start()
    logging.info("Starting server\n")
    try:
        loop.run_until_complete(application.serve())
    except KeyboardInterrupt:
        logging.info("\nStopped server")
    folder_paths.remove_temporary_files()


if __name__ == "__main__":
    main()
