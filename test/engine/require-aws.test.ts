import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { findAws } from "../../runtime/aws/credentials";
import { PulumiProject } from "../support/pulumi-project";

const program = `
const { requireAws } = require("pulumi-comfyui");
module.exports = async () => {
  const { region } = await requireAws({ settings: ["comfyui:cluster", "comfyui:bucketName"] });
  return { region };
};
`;

let home: string;
let project: PulumiProject;

beforeAll(() => {
  home = mkdtempSync(join(tmpdir(), "require-aws-"));
  project = PulumiProject.create({ program, name: "require-aws" });
});

afterAll(async () => {
  await project?.[Symbol.asyncDispose]();
  rmSync(home, { recursive: true, force: true });
});

/** A machine on which nobody has ever used AWS, and which is none of AWS's. */
beforeEach(() => {
  for (const name of Object.keys(process.env)) if (name.startsWith("AWS_")) vi.stubEnv(name, undefined);
  vi.stubEnv("HOME", home);
  vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
  return () => vi.unstubAllEnvs();
});

/** The errors of a run, without the summary's repetition. */
const errorsIn = (output: string) => output.slice(output.indexOf("Diagnostics:")).match(/\berror: /g) ?? [];

test("a preview without region, credentials and settings fails with one error that names them all", async () => {
  const { code, output } = await project.preview();
  expect(code).not.toBe(0);
  expect(errorsIn(output), output).toHaveLength(1);
  expect(output).toMatch(
    /error: what this program needs of AWS is missing\n +region: there is none: pulumi config set/,
  );
  expect(output).toMatch(/ credentials: the AWS SDK finds none in 10 s at most \(.+\): log in \(aws sso login\)/);
  expect(output).toMatch(/ comfyui:cluster: is not set: pulumi config set comfyui:cluster <value>\n/);
  expect(output).toMatch(/ comfyui:bucketName: is not set/);
  expect(output).not.toMatch(/unhandled exception|\bat .*\.js:/);
});

test("the examples on EKS fail in that way before anything else", async () => {
  for (const example of ["eks", "eks-complete"]) {
    await using copy = PulumiProject.copyOf(resolve(__dirname, "../../examples", example), "test");
    const { code, output } = await copy.preview();
    expect(code).not.toBe(0);
    expect(errorsIn(output), output).toHaveLength(1);
    expect(output).toMatch(
      /what this program needs of AWS is missing\n +region: .*\n +credentials: .*\n +comfyui:\w+: /,
    );
    expect(output).not.toMatch(/ \+ +(?!pulumi:pulumi:Stack)\w+:/);
  }
});

test("what is there is not named, and with all of it the program goes on", async () => {
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "example");
  await project.configure({ "aws:region": "eu-central-1", "comfyui:cluster": "tools" });
  const partly = await project.preview();
  expect(errorsIn(partly.output)).toHaveLength(1);
  expect(partly.output).toMatch(/is missing\n +comfyui:bucketName: is not set[^\n]*\n\s*\n/);

  await project.configure({ "comfyui:bucketName": "acme-snapshots" });
  await project.mustUp();
  expect(await project.outputs()).toEqual({ region: "eu-central-1" });
});

test("a profile that is not there is named", async () => {
  await project.configure({ "aws:region": "eu-central-1", "aws:profile": "studio", "comfyui:cluster": "tools" });
  const { output } = await project.preview();
  expect(output).toMatch(/credentials: the AWS SDK finds none with the profile "studio" in 10 s at most \(/);
});

test("what does not answer when it is asked for credentials is given up", async () => {
  const silent: Server = createServer(() => {});
  await new Promise<void>((listening) => silent.listen(0, "127.0.0.1", listening));
  const address = silent.address();
  const port = typeof address === "object" ? address?.port : 0;
  vi.stubEnv("AWS_CONTAINER_CREDENTIALS_FULL_URI", `http://127.0.0.1:${port}/credentials`);
  const found = await findAws({ region: "eu-central-1" }, 50);
  silent.close();
  expect(found).toEqual({ region: "eu-central-1", noCredentials: "nothing came of it within 0.05 s" });
});
