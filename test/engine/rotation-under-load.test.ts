import { expect, test } from "vitest";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";
import { startTraffic } from "../support/traffic";

test("five rotations under load lose and cut nothing, and there is always an instance behind the gateway", async () => {
  await using project = PulumiProject.create();
  project.makeEnvironment({ painter: painter("0") });
  project.declare({ count: 2, service: { health: quickHealth } });
  await project.mustUp();
  const url = (await project.outputs()).serviceUrl ?? "";

  const traffic = startTraffic({
    url,
    clients: 6,
    workflow: (client, prompt) => paint(0.2 + (client % 3) * 0.3, `${client}-${prompt}`),
    versionIn: paintedBy,
  });
  let lowest = Number.POSITIVE_INFINITY;
  let watching = true;
  const watch = (async () => {
    const supervisor = await project.supervisor();
    while (watching) {
      const service = await supervisor.service("studio");
      const ready = service?.instances.filter(
        ({ release, phase }) => release === service.serving && phase === "proven",
      );
      lowest = Math.min(lowest, ready?.length ?? 0);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  })();

  for (const version of ["1", "2", "3", "4", "5"]) {
    project.writePlugins({ painter: painter(version) });
    await project.mustUp();
  }
  watching = false;
  await watch;
  const seen = await traffic.stop();

  expect(seen.complaints).toEqual([]);
  expect([...seen.versions].sort()).toEqual(["0", "1", "2", "3", "4", "5"]);
  expect(seen.finished).toBeGreaterThan(50);
  expect(lowest).toBeGreaterThanOrEqual(2);
  const { instances } = await project.service();
  expect(instances).toHaveLength(2);
}, 900_000);
