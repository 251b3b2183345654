import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { capLog, logTail, openLog, readLog } from "../../runtime/supervisor/process-log";

let folder: string;
let log: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "process-log-test-"));
  log = join(folder, "logs", "comfyui.log");
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("the log of a process", () => {
  it("begins anew with each start, the earlier start's kept beside it", () => {
    const first = openLog(log);
    writeSync(first, "first start\n");
    closeSync(first);

    closeSync(openLog(log));

    expect(readLog(log)).toBe("");
    expect(readLog(`${log}.1`)).toBe("first start\n");
  });

  it("is empty where there is none", () => {
    expect(readLog(log)).toBe("");
    expect(logTail(log)).toEqual([]);
  });

  it("shows its last lines, and of a long one nothing but these", () => {
    closeSync(openLog(log));
    appendFileSync(log, Array.from({ length: 10_000 }, (_, index) => `line ${index}\n`).join(""));

    const tail = logTail(log);

    expect(tail).toHaveLength(40);
    expect(tail[0]).toBe("line 9960");
    expect(tail.at(-1)).toBe("line 9999");
  });

  it("is emptied when it has grown too long, while its process goes on to write", () => {
    const open = openLog(log);
    writeFileSync(log, Buffer.alloc(17 * 2 ** 20, "x"));

    capLog(log);
    writeSync(open, "after\n");
    closeSync(open);

    expect(readFileSync(log, "utf8")).toBe("after\n");
    expect(statSync(`${log}.1`).size).toBe(16 * 2 ** 20);
  });

  it("is emptied also when its end cannot be kept", () => {
    closeSync(openLog(log));
    writeFileSync(log, Buffer.alloc(17 * 2 ** 20, "x"));
    mkdirSync(join(`${log}.1`, "in the way"), { recursive: true });

    expect(() => capLog(log)).toThrow();

    expect(statSync(log).size).toBe(0);
  });

  it("is read from its end when it is long, whatever its size", () => {
    closeSync(openLog(log));
    truncateSync(log, 3 * 2 ** 30);
    appendFileSync(log, "the last line\n");

    expect(readLog(log).length).toBeLessThan(5 * 2 ** 20);
    expect(logTail(log).at(-1)).toMatch(/the last line$/);
  });

  it("is left alone while it is short", () => {
    closeSync(openLog(log));
    appendFileSync(log, "short\n");

    capLog(log);

    expect(readLog(log)).toBe("short\n");
    expect(existsSync(`${log}.1`)).toBe(false);
  });
});
