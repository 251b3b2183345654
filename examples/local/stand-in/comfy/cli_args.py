"""The command line, where ComfyUI's plugins look for it."""

from stand_in.arguments import parse_arguments

args = parse_arguments()
