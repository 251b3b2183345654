import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** TCP state of a listening socket in `/proc/net/tcp`. */
const listening = "0A";

/** What a person can recognise of the process that listens on a port. Processes of other users cannot be looked into. */
export function holderOf(port: number): string {
  const inodes = ["/proc/net/tcp", "/proc/net/tcp6"].flatMap((table) => listenersAt(table, port));
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name) || !holdsSocket(name, inodes)) continue;
    const command = readText(`/proc/${name}/cmdline`).replaceAll("\0", " ").trim();
    return `process ${name} (${command.slice(0, 120)})`;
  }
  return "a process of another user";
}

function listenersAt(table: string, port: number): readonly string[] {
  const wanted = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return readText(table)
    .split("\n")
    .slice(1)
    .flatMap((line) => {
      const fields = line.trim().split(/\s+/);
      const [, local, , state] = fields;
      const inode = fields[9];
      return local?.endsWith(wanted) && state === listening && inode !== undefined ? [`socket:[${inode}]`] : [];
    });
}

function holdsSocket(pid: string, inodes: readonly string[]): boolean {
  let descriptors: readonly string[];
  try {
    descriptors = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return false; // It ended meanwhile, or is of another user.
  }
  return descriptors.some((descriptor) => {
    try {
      return inodes.includes(readlinkSync(`/proc/${pid}/fd/${descriptor}`));
    } catch {
      return false;
    }
  });
}

function readText(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
