"""ComfyUI's command line: what has an effect here, and what is accepted because ComfyUI accepts it."""

from __future__ import annotations

import argparse
import os
from typing import Optional, Sequence

# Arguments of ComfyUI that decide about devices, precision and memory: without models they have nothing to decide.
_FLAGS_WITHOUT_EFFECT = (
    "--auto-launch", "--disable-auto-launch", "--cuda-malloc", "--disable-cuda-malloc", "--force-fp32", "--force-fp16",
    "--fp32-unet", "--fp16-unet", "--bf16-unet", "--fp16-vae", "--fp32-vae", "--bf16-vae", "--cpu-vae",
    "--fp8_e4m3fn-text-enc", "--fp8_e5m2-text-enc", "--fp16-text-enc", "--fp32-text-enc", "--bf16-text-enc",
    "--force-channels-last", "--disable-ipex-optimize", "--cache-classic", "--cache-none",
    "--use-split-cross-attention", "--use-quad-cross-attention", "--use-pytorch-cross-attention",
    "--use-sage-attention", "--use-flash-attention", "--disable-xformers", "--force-upcast-attention",
    "--dont-upcast-attention", "--gpu-only", "--highvram", "--normalvram", "--lowvram", "--novram", "--cpu",
    "--async-offload", "--force-non-blocking", "--disable-smart-memory", "--deterministic", "--mmap-torch-files",
    "--disable-mmap", "--dont-print-server", "--quick-test-for-ci", "--windows-standalone-build",
    "--disable-api-nodes", "--multi-user", "--enable-compress-response-body", "--supports-fp8-compute",
)  # fmt: skip
_VALUES_WITHOUT_EFFECT = (
    "--cuda-device", "--default-device", "--directml", "--oneapi-device-selector", "--preview-method",
    "--preview-size", "--cache-lru", "--cache-ram", "--reserve-vram", "--default-hashing-function",
    "--front-end-version", "--front-end-root", "--comfy-api-base", "--tls-keyfile", "--tls-certfile", "--fast",
)  # fmt: skip


def _existing_folder(path: str) -> str:
    if not os.path.isdir(path):
        raise argparse.ArgumentTypeError(f"The path '{path}' does not exist.")
    return path


def parse_arguments(command_line: Optional[Sequence[str]] = None) -> argparse.Namespace:
    """Parses the command line; an argument that ComfyUI would refuse ends the process with code 2."""
    parser = argparse.ArgumentParser(description="Stand-in for ComfyUI")
    parser.add_argument("--listen", nargs="?", const="0.0.0.0,::", default="127.0.0.1", metavar="IP")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--enable-cors-header", nargs="?", const="*", default=None, metavar="ORIGIN")
    parser.add_argument("--max-upload-size", type=float, default=100, help="MB")
    parser.add_argument("--base-directory")
    parser.add_argument("--extra-model-paths-config", nargs="+", action="append", default=[], metavar="PATH")
    parser.add_argument("--output-directory")
    parser.add_argument("--temp-directory")
    parser.add_argument("--input-directory")
    parser.add_argument("--user-directory", type=_existing_folder)
    parser.add_argument("--database-url")
    parser.add_argument("--disable-metadata", action="store_true")
    parser.add_argument("--disable-all-custom-nodes", action="store_true")
    parser.add_argument("--whitelist-custom-nodes", nargs="+", default=[])
    parser.add_argument("--log-stdout", action="store_true")
    parser.add_argument(
        "--verbose",
        nargs="?",
        const="DEBUG",
        default="INFO",
        choices=["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
    )
    for flag in _FLAGS_WITHOUT_EFFECT:
        parser.add_argument(flag, action="store_true", help=argparse.SUPPRESS)
    for option in _VALUES_WITHOUT_EFFECT:
        parser.add_argument(option, nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args(command_line)
