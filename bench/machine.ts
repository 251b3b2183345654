import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";

/** What a measurement depends on beside the code. */
export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  readonly system: string;
  /** File system and device that the bench works on. */
  readonly disk: string;
  readonly node: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Load over the last minute, when the bench begins: others' work. */
  readonly load: number;
}

/** @param versions of what is measured with or against, by its name. */
export function describeMachine(folder: string, versions: ReadonlyMap<string, string>): Machine {
  const said = (file: string, ...args: string[]) => spawnSync(file, args, { encoding: "utf8" }).stdout?.trim() ?? "";
  const processors = cpus();
  return {
    cpu: processors[0]?.model ?? "unknown",
    cores: processors.length,
    memoryBytes: totalmem(),
    kernel: said("uname", "-sr"),
    system: /^PRETTY_NAME="(.*)"$/m.exec(readFileSync("/etc/os-release", "utf8"))?.[1] ?? "unknown",
    disk: said("findmnt", "--noheadings", "--output", "SOURCE,FSTYPE,OPTIONS", "--target", folder).replace(/\s+/g, " "),
    node: process.version,
    versions: Object.fromEntries(versions),
    load: loadavg()[0] ?? 0,
  };
}
