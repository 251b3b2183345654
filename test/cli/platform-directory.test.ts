import { mkdirSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { findDirectory, requireDirectory } from "../../runtime/cli/platform-directory";
import { InvalidInputError } from "../../runtime/problems";
import { temporaryFolder, writeFiles } from "../support/cli-surroundings";

describe("the platform's directory", () => {
  it("is the nearest .comfyui, here or above", () => {
    const root = temporaryFolder();
    mkdirSync(`${root}/.comfyui`);
    mkdirSync(`${root}/a/.comfyui`, { recursive: true });
    mkdirSync(`${root}/a/b/c`, { recursive: true });

    expect(findDirectory(undefined, `${root}/a/b/c`)).toBe(`${root}/a/.comfyui`);
    expect(findDirectory(undefined, root)).toBe(`${root}/.comfyui`);
  });

  it("is not a file of that name", () => {
    const root = temporaryFolder();
    writeFiles(root, { ".comfyui": "" });

    expect(findDirectory(undefined, root)).toBeNull();
  });

  it("is the one that was given, relative to the current folder", () => {
    const root = temporaryFolder();
    mkdirSync(`${root}/platform`);

    expect(findDirectory("platform", root)).toBe(`${root}/platform`);
    expect(() => findDirectory("other", root)).toThrow(InvalidInputError);
    expect(() => requireDirectory(undefined, root)).toThrow("no folder .comfyui");
  });
});
