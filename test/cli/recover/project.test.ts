import { describe, expect, it } from "vitest";
import { findProject } from "../../../runtime/cli/recover/project";
import { backendFolder } from "../../../runtime/cli/recover/pulumi";
import { InvalidInputError } from "../../../runtime/problems";
import { temporaryFolder, writeFiles } from "../../support/cli-surroundings";

describe("a Pulumi project", () => {
  it.each([
    ["Pulumi.yaml", "name: studio # mine\nruntime: nodejs\nmain: programs/local\n", "studio", "programs/local"],
    ["Pulumi.yaml", 'runtime:\n  name: nodejs\nname: "studio"\nmain: src/index.ts\n', "studio", "src"],
    ["Pulumi.yml", "name: 'studio'\r\nruntime: nodejs\r\n", "studio", ""],
    ["Pulumi.json", '{"name": "studio", "main": "dist/index.js"}', "studio", "dist"],
  ])("is read from %s", (file, content, name, program) => {
    const root = temporaryFolder();
    writeFiles(root, { [file]: content, "a/b/file": "" });

    expect(findProject(`${root}/a/b`)).toEqual({ root, name, programFolder: program ? `${root}/${program}` : root });
  });

  it("is missed with what would be right", () => {
    expect(() => findProject(temporaryFolder())).toThrow(InvalidInputError);
  });
});

describe("a backend", () => {
  it.each([
    ["file:///srv/state", "/srv/state"],
    ["file://./state", "/project/state"],
    ["file:///with%20space?no_tmp_dir=true", "/with space"],
    ["https://api.pulumi.com", null],
    ["s3://bucket/prefix", null],
  ])("%s is a folder of this machine: %s", (url, folder) => {
    expect(backendFolder(url, "/project")).toBe(folder);
  });

  it("in the home folder is found there", () => {
    expect(backendFolder("file://~/state", "/project")).toBe(`${process.env.HOME}/state`);
  });
});
