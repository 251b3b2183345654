import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { useCommandPlugin } from "../support/command-plugin-path";
import { PulumiProject, stepsOf } from "../support/pulumi-project";

const program = `
const { readFileSync } = require("node:fs");
const pulumi = require("@pulumi/pulumi");
const { local } = require("@pulumi/command");
const { secrets = {}, ...args } = JSON.parse(readFileSync("declaration.json", "utf8"));
const environment = { ...args.environment };
for (const [name, value] of Object.entries(secrets)) environment[name] = pulumi.secret(value);
const command = new local.Command("command", { ...args, environment });
exports.stdout = command.stdout;
exports.stderr = command.stderr;
`;

// Of the released plugin where this machine has it, else of the stand-in: what verification builds on.
describe("a Command", () => {
  let project: PulumiProject;
  const log = () => join(project.folder, "log");
  const logged = () => (existsSync(log()) ? readFileSync(log(), "utf8").trim().split("\n") : []);

  beforeAll(() => {
    useCommandPlugin();
    project = PulumiProject.create({ program, name: "command-test" });
  });
  afterAll(() => project[Symbol.asyncDispose]());
  beforeEach(() => writeFileSync(log(), ""));

  const create = "echo created >> log; echo out; echo err >&2";

  test("runs create once, in the program's folder, and gives its output", async () => {
    project.declare({ create, triggers: ["a"] });
    const first = await project.mustUp();
    const second = await project.mustUp();
    expect(logged()).toEqual(["created"]);
    expect(await project.outputs()).toEqual({ stdout: "out", stderr: "err" });
    expect(first.output).toMatch(/command.*out/);
    expect(stepsOf(second)).toEqual({ same: 2 });
  });

  test("is updated when anything but the triggers changes, and runs create again", async () => {
    project.declare({ create: `${create}; echo more`, triggers: ["a"] });
    expect(stepsOf(await project.mustUp())).toMatchObject({ update: 1 });
    expect(logged()).toEqual(["created"]);
    expect((await project.outputs()).stdout).toBe("out\nmore");
  });

  test("is replaced when triggers change, which runs delete after create", async () => {
    project.declare({ create, delete: "echo deleted >> log", triggers: ["a"] });
    await project.mustUp();
    writeFileSync(log(), "");
    project.declare({ create, delete: "echo deleted >> log", triggers: ["b"] });
    expect(stepsOf(await project.mustUp())).toMatchObject({ replace: 1 });
    expect(logged()).toEqual(["created", "deleted"]);
  });

  test("takes its interpreter, folder, input and environment, of which secrets make its output secret", async () => {
    mkdirSync(join(project.folder, "sub"), { recursive: true });
    project.declare({
      create:
        'process.stdin.on("data", (text) => console.log(process.cwd().split("/").at(-1), String(text), process.env.WORD, process.env.PULUMI_COMMAND_STDOUT ?? "none"))',
      interpreter: [process.execPath, "-e"],
      dir: "sub",
      stdin: "given",
      secrets: { WORD: "sesame" },
      addPreviousOutputInEnv: false,
      triggers: ["c"],
    });
    await project.mustUp();
    const { code, stdout } = await project.run("stack", "output", "--json", "--show-secrets");
    expect([code, JSON.parse(stdout).stdout]).toEqual([0, "sub given sesame none"]);
    expect((await project.outputs()).stdout).toBe("[secret]");
  });

  test("that fails fails the update with all its output, leaves the one that was, and is tried again", async () => {
    project.declare({ create: "echo tried >> log; echo why; echo because >&2; exit 3", triggers: ["d"] });
    for (let attempt = 1; attempt <= 2; attempt++) {
      const run = await project.up();
      expect(run.code).not.toBe(0);
      for (const text of ["exit status 3", "why", "because"]) expect(run.output).toContain(text);
      expect(logged()).toEqual(Array(attempt).fill("tried"));
      expect((await project.state()).deployment.resources.filter(({ type }) => /Command/.test(type))).toHaveLength(1);
    }
  });

  test("runs update for a change where it has one, and delete with a destroy", async () => {
    const declared = { create, update: "echo updated >> log", delete: "echo deleted >> log" };
    project.declare({ ...declared, triggers: ["e"] });
    await project.mustUp();
    project.declare({ ...declared, triggers: ["e"], environment: { WORD: "else" } });
    expect(stepsOf(await project.mustUp())).toMatchObject({ update: 1 });
    expect((await project.destroy()).code).toBe(0);
    expect(logged().slice(-2)).toEqual(["updated", "deleted"]);
  });
});
