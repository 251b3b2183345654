import type { PluginSource } from "./stand-in";

/**
 * A plugin with a version, whose node takes its time and returns the version: a result tells which release drew it. With `until`
 * it works until that file exists: a prompt of any length, which a test ends.
 */
export function painter(version: string): PluginSource {
  return {
    "pyproject.toml": `[project]\nname = "painter"\nversion = "${version}"\n`,
    "__init__.py": `
import os
import time

import comfy.utils


class Paint:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ("STRING",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"seconds": ("FLOAT", {"default": 0.0}), "nonce": ("STRING", {"default": ""})},
            "optional": {"until": ("STRING", {"default": ""})},
        }

    def run(self, seconds, nonce, until=""):
        steps = max(1, round(seconds * 10))
        bar = comfy.utils.ProgressBar(steps)
        for _ in range(steps):
            time.sleep(seconds / steps)
            bar.update(1)
        while until and not os.path.exists(until):
            time.sleep(0.05)
            bar.update(0)
        return {"ui": {"version": ["${version}"]}, "result": ("${version}",)}


NODE_CLASS_MAPPINGS = {"Paint": Paint}
`,
  };
}

/** A workflow of the painter's node; another nonce is another computation. */
export function paint(seconds: number, nonce: string): unknown {
  return { "1": { class_type: "Paint", inputs: { seconds, nonce } } };
}

/** A workflow that ends once the file exists. */
export function paintUntil(file: string): unknown {
  return { "1": { class_type: "Paint", inputs: { seconds: 0, nonce: file, until: file } } };
}

/** The version in the outputs of such a workflow. */
export function paintedBy(outputs: unknown): string | undefined {
  return (outputs as Record<string, { version?: string[] }>)["1"]?.version?.[0];
}

/** A plugin whose node `Fails` does. */
export const failingNode = `
class Fails:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ()
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def run(self):
        raise RuntimeError("no paint left")


NODE_CLASS_MAPPINGS = {"Fails": Fails}
`;
