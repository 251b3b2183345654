import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { packageRoot } from "../../runtime/package-root";
import { takeLock } from "../../runtime/supervisor/lock";
import { until } from "../support/supervisor-platform";

/** Takes the lock, says so, and says nothing any more before it gives it back. */
const contender = `
const { takeLock } = require(${JSON.stringify(join(packageRoot(), "dist/runtime/supervisor/lock"))});
process.stdin.once("data", async () => {
  for (let round = 0; round < 5; round++) {
    const lock = await takeLock(process.argv[1]);
    process.stdout.write("taken\\n");
    await new Promise((resolve) => setTimeout(resolve, 5));
    process.stdout.write("given\\n");
    lock.release();
  }
  process.exit(0);
});
process.stdout.write("ready\\n");
`;

let folder: string;

beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "lock-test-")), "directory");
});
afterEach(() => rmSync(join(folder, ".."), { recursive: true }));

describe("the lock of a directory", () => {
  it("is never held by two at once", async () => {
    const said: string[] = [];
    const contenders = Array.from({ length: 4 }, (_, index) => {
      const child = spawn(process.execPath, ["-e", contender, folder], { stdio: ["pipe", "pipe", "inherit"] });
      child.stdout.on("data", (text: Buffer) => {
        for (const line of text.toString().trim().split("\n")) said.push(`${index} ${line}`);
      });
      return child;
    });
    await until("all to be ready", () => said.length === contenders.length);
    said.length = 0;

    for (const child of contenders) child.stdin.write("go\n");
    const codes = await Promise.all(contenders.map(exitCode));

    expect(codes).toEqual(contenders.map(() => 0));
    expect(said).toHaveLength(contenders.length * 5 * 2);
    expect(readdirSync(folder)).toEqual([]);
    const holders = said.map((line) => line.split(" "));
    for (let at = 0; at < holders.length; at += 2) {
      expect(holders[at]).toEqual([holders[at]?.[0], "taken"]);
      expect(holders[at + 1]).toEqual([holders[at]?.[0], "given"]);
    }
  });

  it("is taken over from a process that is gone", async () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, "supervisor-1-11111111-2222-3333-4444-555555555555+99.lock"), "");

    const lock = await takeLock(folder);

    expect(lock?.held).toBe(true);
    expect(readdirSync(folder)).toHaveLength(1);
    lock?.release();
    expect(readdirSync(folder)).toEqual([]);
  });
});

const exitCode = (child: ChildProcess) => new Promise((resolve) => child.once("exit", resolve));
