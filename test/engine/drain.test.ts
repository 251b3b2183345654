import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { waitFor } from "../../runtime/waiting";
import { finished, openSocket, running, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter, paintUntil } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";
import { startTraffic } from "../support/traffic";

describe("instances that have to go", () => {
  let project: PulumiProject;
  let url = "";
  let version = 1;

  const declare = (count: number, drain: object = {}) =>
    project.declare({ count, workstation: { state: "stopped" }, service: { health: quickHealth, drain } });
  const edit = () => {
    version++;
    project.writePlugins({ painter: painter(String(version)) });
  };

  beforeAll(async () => {
    project = PulumiProject.create();
    project.makeEnvironment({ painter: painter(String(version)) });
    declare(1);
    await project.mustUp();
    url = (await project.outputs()).serviceUrl ?? "";
  });
  afterAll(() => project[Symbol.asyncDispose]());

  test("finish a long prompt first; its client hears of its end and gets the result afterwards", async () => {
    const before = (await project.outputs()).release;
    const socket = await openSocket(url, "patient");
    const end = join(project.folder, "end-of-the-long-prompt");
    const id = await submit(url, paintUntil(end), { client_id: "patient" });
    await running(url, id);
    edit();
    const up = project.up();
    await waitFor({
      what: "the old instance to drain behind the new release",
      deadline: 180_000,
      look: async () => {
        const { serving, instances } = await project.service();
        const draining = instances.some(({ release, phase }) => release === before && phase === "draining");
        return (serving !== before && draining) || undefined;
      },
    });
    writeFileSync(end, "");
    const run = await up;
    expect(run.code, run.output).toBe(0);
    await socket.until(
      "the end of the long prompt",
      ({ type, data }) => type === "execution_success" && data.prompt_id === id,
    );
    expect(paintedBy((await finished(url, id)).outputs)).toBe("1");
    expect((await project.service()).instances.map(({ release }) => release)).not.toContain(before);
    await socket.close();
  });

  test('past the deadline under "keep": the update fails, they stay and finish, and the next up removes them', async () => {
    declare(1, { deadline: "1s", onDeadline: "keep" });
    await project.mustUp();
    const before = (await project.outputs()).release;
    const end = join(project.folder, "end-of-the-kept-prompt");
    const id = await submit(url, paintUntil(end));
    await running(url, id);
    edit();
    const run = await project.up();
    expect(run.code).not.toBe(0);
    expect(run.output).toContain("the next pulumi up asks again");
    const kept = await project.service();
    expect(kept.instances.map(({ release }) => release)).toContain(before);
    expect(kept.serving).not.toBe(before);
    writeFileSync(end, "");
    expect(paintedBy((await finished(url, id)).outputs)).toBe(String(version - 1));
    await project.mustUp();
    expect((await project.service()).instances.map(({ release }) => release)).not.toContain(before);
    expect(paintedBy((await finished(url, id)).outputs)).toBe(String(version - 1));
  });

  test('past the deadline under "stop": they are ended, and their clients hear of it', async () => {
    declare(1, { deadline: "1s", onDeadline: "stop" });
    await project.mustUp();
    const socket = await openSocket(url, "unlucky");
    const never = join(project.folder, "this-prompt-does-not-end");
    const id = await submit(url, paintUntil(never), { client_id: "unlucky" });
    await running(url, id);
    edit();
    await project.mustUp();
    await socket.until("the prompt's failure", ({ type, data }) => type === "execution_error" && data.prompt_id === id);
    const { status } = (await finished(url, id)) as { status?: { status_str?: string } };
    expect(status?.status_str).toBe("error");
    expect((await project.service()).instances).toHaveLength(1);
    await socket.close();
  });

  test("from 3 to 2 under load cut nothing", async () => {
    declare(3);
    await project.mustUp();
    const traffic = startTraffic({
      url,
      clients: 6,
      workflow: (client, prompt) => paint(0.5, `scale-${client}-${prompt}`),
      versionIn: paintedBy,
    });
    declare(2);
    await project.mustUp();
    const seen = await traffic.stop();
    expect(seen.complaints).toEqual([]);
    expect(seen.finished).toBeGreaterThan(0);
    expect((await project.service()).instances).toHaveLength(2);
    expect((await project.outputs()).release).toMatch(new RegExp(`^r${(await project.service()).revision}-`));
  });
});
