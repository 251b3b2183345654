import type { types } from "@pulumi/kubernetes";
import { programPlaces } from "../../../runtime/kubernetes/program-places";

/** Where the programs' ConfigMap is mounted, and where it is unpacked to: see `runtime/kubernetes/program.ts`. */
const { folder: programFolder, unpacked: unpackedFolder, starter } = programPlaces;

/** The command of a container that runs one of the programs. The image needs Node.js, and nothing else. */
export function runProgram(file: "gateway.js" | "agent.js", args: readonly string[]): string[] {
  return ["node", `${programFolder}/${starter}`, file, ...args];
}

export const programMounts = [
  { name: "program", mountPath: programFolder, readOnly: true },
  { name: "run", mountPath: unpackedFolder },
];

/** The volumes of those mounts. */
export function programVolumes(configMap: types.input.core.v1.ConfigMapVolumeSource["name"]) {
  return [
    { name: "program", configMap: { name: configMap } },
    { name: "run", emptyDir: { sizeLimit: "64Mi" } },
  ] as types.input.core.v1.Volume[];
}
