import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { finished, running, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";

const program = (args: string) => `
const { OnlineService, Snapshot, fixed, local } = require("pulumi-comfyui");
const platform = local({ directory: "platform" });
const service = new OnlineService("studio", { platform, scaling: fixed(1), health: ${JSON.stringify(quickHealth)}, ${args} });
module.exports = { url: service.url, release: service.release };
`;
const packing = 'snapshot: new Snapshot("studio", { environment: "studio", store: "store" }).reference';

test("a service moves between stacks by takeover and back, and each destroy removes only what is its own", async () => {
  await using first = PulumiProject.create({ program: program(packing) });
  first.makeEnvironment({ painter: painter("1") });
  await first.mustUp();
  const { url = "", release = "" } = await first.outputs();
  const pin = (await first.service()).releases[0]?.spec.snapshot;

  // The second stack has nothing but a pinned snapshot.
  const second = first.withStack("second");
  first.writeProgram(program(`snapshot: "${pin}", takeover: true`));
  const long = await submit(url, paint(6, "long"));
  await running(url, long);
  const taken = await second.mustUp();
  expect(taken.output).toContain(`the instances of ${release}, which organization/engine-test/test declared`);
  expect((await second.outputs()).url).toBe(url);
  expect((await second.outputs()).release).toMatch(/^r2-/);
  expect(paintedBy((await finished(url, long)).outputs)).toBe("1");
  await waitFor({
    what: "the first stack's instances to go",
    deadline: 30_000,
    look: async () => ((await first.service()).instances.length === 1 ? true : undefined),
  });

  first.writeProgram(program(packing));
  const refused = await first.preview();
  expect(refused.code).not.toBe(0);
  expect(refused.output).toContain("is owned by organization/engine-test/second since");

  first.writeProgram(program(`${packing}, takeover: true`));
  await first.mustUp();
  expect((await first.outputs()).release).toMatch(/^r3-/);
  expect((await first.outputs()).url).toBe(url);

  const destroyed = await second.destroy();
  expect(destroyed.code, destroyed.output).toBe(0);
  expect(destroyed.output).toContain("was taken over by organization/engine-test/test");
  expect(paintedBy((await finished(url, await submit(url, paint(0, "still")))).outputs)).toBe("1");

  expect((await first.destroy()).code).toBe(0);
  await waitFor({
    what: "the last process to end",
    deadline: 30_000,
    look: () => (first.processes().length === 0 ? true : undefined),
    seen: () => first.processes().join("; "),
  });
  expect(existsSync(first.platform)).toBe(false);
}, 180_000);
