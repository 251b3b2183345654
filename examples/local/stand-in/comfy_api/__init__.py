"""The part of ComfyUI's plugin interface of the newer sort (V3) that plugins without models use."""
