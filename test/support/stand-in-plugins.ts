/**
 * A plugin with a node for each way in which a prompt can go: `TestAddOne` returns at once, `TestSlow` takes its time
 * (`progress`: reports every 0.1 s and can be interrupted; `sleep`: one call that cannot), `TestWait` ends when a file
 * exists, without ever asking whether it is interrupted, `TestFail` raises.
 */
export const workingPlugin = `
import os
import time

import comfy.utils


class TestAddOne:
    CATEGORY = "test"
    DESCRIPTION = "Adds one."
    FUNCTION = "run"
    RETURN_TYPES = ("INT",)
    RETURN_NAMES = ("value",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {"default": 0, "min": 0, "max": 1000})}}

    def run(self, value):
        return {"ui": {"value": [value + 1]}, "result": (value + 1,)}


class TestSlow:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ("INT",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "seconds": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 3600.0}),
                "mode": (["progress", "sleep"],),
            },
            "optional": {"value": ("INT", {"forceInput": True})},
        }

    @classmethod
    def IS_CHANGED(cls, **_inputs):
        return float("nan")

    def run(self, seconds, mode, value=0):
        if mode == "sleep":
            time.sleep(seconds)
        else:
            steps = max(1, round(seconds * 10))
            bar = comfy.utils.ProgressBar(steps)
            for _ in range(steps):
                time.sleep(seconds / steps)
                bar.update(1)
        return {"ui": {"value": [value]}, "result": (value,)}


class TestWait:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ("INT",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"file": ("STRING", {})}}

    @classmethod
    def IS_CHANGED(cls, **_inputs):
        return float("nan")

    def run(self, file):
        while not os.path.exists(file):
            time.sleep(0.01)
        return {"ui": {"value": [0]}, "result": (0,)}


class TestFail:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ("INT",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"message": ("STRING", {"default": "as asked"})}}

    def run(self, message):
        raise RuntimeError(message)


NODE_CLASS_MAPPINGS = {"TestAddOne": TestAddOne, "TestSlow": TestSlow, "TestWait": TestWait, "TestFail": TestFail}
NODE_DISPLAY_NAME_MAPPINGS = {"TestAddOne": "Test: add one"}
`;

/** A plugin whose import fails with a traceback. */
export const brokenPlugin = "import a_module_that_is_missing\n\nNODE_CLASS_MAPPINGS = {}\n";

/** A plugin without nodes: a file for the page, nothing else. It counts as loaded. */
export const webOnlyPlugin = {
  "__init__.py": 'NODE_CLASS_MAPPINGS = {}\nWEB_DIRECTORY = "./js"\n',
  "js/web_only.js": 'console.log("web only");\n',
};

/** A plugin with one node class that does nothing. */
export const pluginWithClass = (name: string) => `
class ${name}:
    CATEGORY = "test"
    FUNCTION = "run"
    RETURN_TYPES = ("INT",)
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"value": ("INT", {})}}

    def run(self, value):
        return {"ui": {"value": [value]}, "result": (value,)}


NODE_CLASS_MAPPINGS = {"${name}": ${name}}
`;
