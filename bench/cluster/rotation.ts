import { painter } from "../../test/support/engine-plugins";
import { median } from "../measure";
import { RotationWatch } from "./rotation-watch";
import { differences, instances, listsOf, type Stage, startLoad, untilSteady } from "./stage";
import { type RotationFigures, rotationFigures } from "./timeline";

const seconds = (value: number) => value.toFixed(2);

/** Rotates a service by the real engine while clients use it. */
export async function rotate({ services, results, rotations, say }: Stage): Promise<void> {
  const declaration = [{ name: "studio", count: instances }];
  services.makeEnvironment({ painter: painter("0") });
  await services.publish();
  services.declare(declaration);
  await services.project.mustUp();
  const watch = new RotationWatch(services.connection, "studio");
  await watch.start();
  const traffic = startLoad(await services.url());
  const figures: RotationFigures[] = [];
  const recorded: number[] = [];
  /** How many complaints there were when each rotation began. */
  const before: number[] = [];
  try {
    await untilSteady(traffic, 20);
    for (let rotation = 1; rotation <= rotations; rotation++) {
      const from = await serving(services);
      services.project.writePlugins({ painter: painter(String(rotation)) });
      await services.publish();
      services.declare(declaration);
      before.push(traffic.seen.complaints.length);
      const began = performance.now();
      await services.project.mustUp();
      const ended = performance.now();
      const to = await serving(services);
      const one = rotationFigures(watch.seen(from, to, { began, ended }));
      const proven = await provenToServing(services, to);
      figures.push(one);
      recorded.push(proven);
      say(`  ${rotation}/${rotations} pulumi up: ${textOf(one)}; proven to serving by the record ${seconds(proven)} s`);
    }
  } finally {
    watch.close();
    for (const complaint of (await traffic.stop()).complaints) say(`  ${complaint}`);
  }
  const { finished, complaints, counts } = traffic.seen;
  results.value("rotation.failures", differences(before, complaints.length), `${finished} prompts finished`, {
    finished: [finished],
    ...listsOf(counts),
  });
  const all = (part: keyof RotationFigures) => figures.map((one) => one[part]);
  const middle = (part: keyof RotationFigures) => seconds(median(all(part)));
  results.value(
    "rotation.traffic",
    all("traffic"),
    `median ${middle("traffic")} s; by the record ${seconds(median(recorded))} s`,
    {
      recorded,
    },
  );
  const parts = `declaring ${middle("declared")}, traffic ${middle("traffic")}, drain ${middle("drain")}, rest ${middle("rest")}`;
  results.value("rotation.up", all("own"), `median ${middle("own")} s (${parts}); start ${middle("start")} s`, {
    up: all("up"),
    declared: all("declared"),
    start: all("start"),
    drain: all("drain"),
    rest: all("rest"),
  });
}

async function serving(services: Stage["services"]): Promise<string> {
  const { release } = await services.records().target();
  if (release === null) throw new Error("the service has no release that serves");
  return release;
}

/** Seconds between the two events in the service's record. */
async function provenToServing(services: Stage["services"], release: string): Promise<number> {
  const { releases } = await services.records().required();
  const events = releases.find(({ id }) => id === release)?.events ?? [];
  const at = (wanted: string) => Date.parse(events.findLast(({ event }) => event === wanted)?.at ?? "");
  return (at("serving") - at("proven")) / 1000;
}

function textOf({ up, declared, start, traffic, drain, rest }: RotationFigures): string {
  const parts = { declared, start, traffic, drain, rest };
  const texts = Object.entries(parts).map(([part, value]) => `${part} ${seconds(value)}`);
  return `${seconds(up)} s (${texts.join(", ")})`;
}
