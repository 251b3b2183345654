"""The part of ComfyUI's `comfy` package that plugins without models use."""
