import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { socketPath } from "../../runtime/supervisor/socket-folder";

let folder: string;
let runtime: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "socket-test-"));
  runtime = join(folder, "run");
  mkdirSync(runtime);
  vi.stubEnv("XDG_RUNTIME_DIR", runtime);
  vi.stubEnv("TMPDIR", join(folder, "tmp"));
  mkdirSync(join(folder, "tmp"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(folder, { recursive: true });
});

const second = () => join(folder, "tmp", `pulumi-comfyui-${process.getuid?.()}`);

describe("the folder of the control socket", () => {
  it("is one that only this user can enter", () => {
    const path = socketPath(folder);

    expect(dirname(path)).toBe(join(runtime, "pulumi-comfyui"));
    expect(statSync(dirname(path)).mode & 0o777).toBe(0o700);
  });

  it("is not one that a link leads to, or that others can enter", () => {
    mkdirSync(join(folder, "elsewhere"), { mode: 0o700 });
    symlinkSync(join(folder, "elsewhere"), join(runtime, "pulumi-comfyui"));
    expect(dirname(socketPath(folder))).toBe(second());

    rmSync(join(runtime, "pulumi-comfyui"));
    mkdirSync(join(runtime, "pulumi-comfyui"));
    chmodSync(join(runtime, "pulumi-comfyui"), 0o750);
    expect(dirname(socketPath(folder))).toBe(second());
  });

  it.runIf(process.getuid?.() === 0)("is not another user's, who could replace what is in it", async () => {
    const { chownSync } = await import("node:fs");
    mkdirSync(join(runtime, "pulumi-comfyui"), { mode: 0o700 });
    chownSync(join(runtime, "pulumi-comfyui"), 65_534, 65_534);

    expect(dirname(socketPath(folder))).toBe(second());
  });

  it("has a path that is short enough for a socket", () => {
    vi.stubEnv("XDG_RUNTIME_DIR", join(folder, "r".repeat(100)));

    expect(Buffer.byteLength(socketPath(folder))).toBeLessThan(108);
  });
});
