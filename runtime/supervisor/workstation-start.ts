import { existsSync } from "node:fs";
import { join } from "node:path";
import { comfyuiStart } from "./comfyui-process";
import type { Start } from "./processes";
import type { WorkstationDeclaration } from "./protocol";

/** How a workstation's ComfyUI is started. @throws when its environment lacks what a start needs */
export function workstationStart(
  declaration: WorkstationDeclaration,
  { port, log, mark }: Pick<Start, "log" | "mark"> & { readonly port: number },
): Start {
  const { root, layout, arguments: args, environmentVariables } = declaration;
  const python = join(root, layout.dependencies, "bin", "python");
  for (const path of [python, join(root, layout.comfyui, "main.py")]) {
    if (!existsSync(path)) throw new Error(`the environment is not complete: ${path} does not exist`);
  }
  return comfyuiStart({ root, layout, python, port, folders: null, arguments: args, environmentVariables, log, mark });
}
