import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, it, vi } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { runCli } from "../support/cli-run";
import { temporaryFolder } from "../support/cli-surroundings";
import { keys, type S3Server, startS3Server } from "../support/s3-servers";
import { makeEnvironment, setPlugin } from "../support/supervisor-environment";

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server("versitygw");
});
beforeEach(() => {
  for (const name of Object.keys(process.env).filter((name) => name.startsWith("AWS_"))) vi.stubEnv(name, undefined);
  vi.stubEnv("AWS_ACCESS_KEY_ID", keys.accessKeyId);
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", keys.secretAccessKey);
});
afterEach(() => {
  vi.unstubAllEnvs();
});
afterAll(() => server.stop());

it("every command of a store takes one in a bucket", async () => {
  const cwd = temporaryFolder();
  vi.stubEnv("XDG_CACHE_HOME", join(cwd, "cache"));
  const environment = makeEnvironment(join(cwd, "studio"), { "my-plugin": "NODE_CLASS_MAPPINGS = {}\n" });
  const store = `s3://${server.bucket}/cli`;
  const run = async (...args: string[]) => {
    const { code, stdout, stderr } = await runCli([...args, "--endpoint", server.endpoint], { cwd });
    expect([0, 3], stderr).toContain(code);
    return { code, answer: stdout.trim() };
  };

  const { answer: first } = await run("pack", "studio", "--store", store);
  // S3 tells times in whole seconds: which of two snapshots is the newest shows only when they are of different ones.
  const packedIn = Math.floor(Date.now() / 1000);
  await waitFor({
    what: "the next second",
    deadline: 10_000,
    look: () => Math.floor(Date.now() / 1000) > packedIn || undefined,
  });
  setPlugin(environment, "my-plugin", "NODE_CLASS_MAPPINGS = {'A': object}\n");
  const { answer: second } = await run("pack", "studio", "--store", store);

  expect(first.startsWith(`${store}#sha256:`)).toBe(true);
  expect((await run("list", store)).answer).toContain(second);
  expect((await run("verify", "--deep", first)).code).toBe(0);
  expect((await run("scan", "studio", "--explain", first)).code).toBe(3);
  expect((await run("scan", "studio", "--explain", "--store", store)).code).toBe(0);
  expect((await run("restore", second, "copy")).code).toBe(0);
  expect((await run("prune", store, "--keep-newest", "1")).code).toBe(0);
  expect((await run("verify", first)).code).toBe(3);
  expect((await run("verify", second)).code).toBe(0);
});

it("a place that is none is bad input", async () => {
  const { code, stderr } = await runCli(["list", "s3://Bucket"]);

  expect(code).toBe(2);
  expect(stderr).toContain('"Bucket" is not the name of a bucket');
});
