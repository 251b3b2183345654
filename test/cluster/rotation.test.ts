import { afterAll, beforeAll, expect, test } from "vitest";
import { ClusterServices } from "../support/cluster-service";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { startTraffic } from "../support/traffic";

let services: ClusterServices;

beforeAll(async () => {
  services = await ClusterServices.create("rotation");
  services.makeEnvironment({ painter: painter("0") });
  await services.publish();
});

afterAll(async () => {
  await services?.[Symbol.asyncDispose]();
});

/** Rotations under load: `TEST_ROTATIONS=20` for the long run. */
const rotations = Number(process.env.TEST_ROTATIONS ?? "4");

test("a service is published, rotated under load, scaled, rolled back and destroyed, and no client sees anything of it", async () => {
  const { project } = services;
  services.declare([{ name: "studio", count: 2 }]);
  await project.mustUp();
  const first = (await services.records().target()).release;
  expect(first).toMatch(/^r1-/);
  const url = await services.url();
  const traffic = startTraffic({
    url,
    clients: 6,
    workflow: (client, prompt) => paint(0.2 + (client % 3) * 0.3, `${client}-${prompt}`),
    versionIn: paintedBy,
    patience: 120_000,
  });

  const versions = Array.from({ length: rotations }, (_, index) => String(index + 1));
  for (const version of versions) await services.rotate({ painter: painter(version) });

  services.declare([{ name: "studio", count: 3 }]);
  const serving = (await services.records().target()).release;
  await project.mustUp();
  expect((await services.instances()).map(({ phase }) => phase)).toEqual(["proven", "proven", "proven"]);
  services.declare([{ name: "studio", count: 1 }]);
  await project.mustUp();
  expect((await services.instances()).map(({ phase }) => phase)).toEqual(["proven"]);
  expect((await services.records().target()).release).toBe(serving);

  await services.rotate({ painter: painter("0") });
  const seen = await traffic.stop();

  expect(seen.complaints).toEqual([]);
  expect([...seen.versions].sort()).toEqual(["0", ...versions].sort());
  const { releases } = await services.records().required();
  expect(releases.map(({ events }) => events.at(-1)?.event)).toEqual([
    ...Array.from({ length: rotations + 1 }, () => "removed"),
    "serving",
  ]);

  const destroyed = await project.destroy();
  expect(destroyed.code, destroyed.output).toBe(0);
  expect(await services.objects()).toEqual([]);
}, 1_800_000);
