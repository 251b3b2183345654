import type { types } from "@pulumi/kubernetes";

/** Where the programs' ConfigMap is mounted. */
const programFolder = "/comfyui/program";
/** Where they are unpacked to. */
const unpackedFolder = "/comfyui/run";

/**
 * Unpacks the programs and goes on as the one that is named, in the same process, so that it is process 1 and hears of signals. The image
 * needs Node.js, and nothing else.
 */
const loader = [
  `const fs=require("node:fs"),zlib=require("node:zlib");`,
  `for(const f of fs.readdirSync("${programFolder}"))`,
  `if(f.endsWith(".gz"))fs.writeFileSync("${unpackedFolder}/"+f.slice(0,-3),zlib.gunzipSync(fs.readFileSync("${programFolder}/"+f)));`,
  `const [file,...rest]=process.argv.slice(1);`,
  `process.argv=[process.argv[0],"${unpackedFolder}/"+file,...rest];`,
  // Who parses arguments takes them differently in a process that was given its program on the command line.
  `process.execArgv.length=0;`,
  `require(process.argv[1]);`,
].join("");

/** The command of a container that runs one of the programs. */
export function runProgram(file: "gateway.js" | "agent.js", args: readonly string[]): string[] {
  return ["node", "--eval", loader, "--", file, ...args];
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

/** What strangers' code gets as little of as it can do with. */
export const restricted = {
  allowPrivilegeEscalation: false,
  capabilities: { drop: ["ALL"] },
};

export function podSecurity(user: number) {
  return {
    runAsNonRoot: true,
    runAsUser: user,
    runAsGroup: user,
    fsGroup: user,
    fsGroupChangePolicy: "OnRootMismatch",
    seccompProfile: { type: "RuntimeDefault" },
  };
}
