import { readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { finished, submit } from "../support/comfyui-client";
import { paint, paintedBy, painter } from "../support/engine-plugins";
import { PulumiProject, quickHealth } from "../support/pulumi-project";
import { keys, type S3Server, startS3Server } from "../support/s3-servers";

describe("with a store in S3", () => {
  let server: S3Server;
  let project: PulumiProject;

  beforeAll(async () => {
    server = await startS3Server("versitygw");
    process.env.AWS_ACCESS_KEY_ID = keys.accessKeyId;
    process.env.AWS_SECRET_ACCESS_KEY = keys.secretAccessKey;
    project = PulumiProject.create();
    project.makeEnvironment({ painter: painter("1") });
  });
  afterAll(async () => {
    await project[Symbol.asyncDispose]();
    await server.stop();
    delete process.env.AWS_ACCESS_KEY_ID;
    delete process.env.AWS_SECRET_ACCESS_KEY;
  });

  const declare = (more: object = {}) => {
    const store = {
      url: `s3://${server.bucket}/comfyui`,
      endpoint: server.endpoint,
      region: "us-east-1",
      pathStyle: true,
    };
    const workstation = { state: "stopped" };
    project.declare({ count: 1, store, workstation, service: { health: quickHealth, ...more } });
    return store;
  };

  test("the main job works: packed there, served from there, and rotated", async () => {
    declare();
    await project.mustUp();
    const { snapshot = "", serviceUrl = "" } = await project.outputs();
    expect(snapshot).toMatch(/^s3:\/\/.+\/comfyui#sha256:[0-9a-f]{64}$/);
    project.writePlugins({ painter: painter("2") });
    await project.mustUp();
    const id = await submit(serviceUrl, paint(0, "from a bucket"));
    expect(paintedBy((await finished(serviceUrl, id)).outputs)).toBe("2");

    // A rollback pins the reference together with what its store needs to be told.
    const { url: _, ...access } = declare();
    declare({ snapshot: { reference: snapshot, store: access } });
    await project.mustUp();
    const earlier = await submit(serviceUrl, paint(0, "rolled back"));
    expect(paintedBy((await finished(serviceUrl, earlier)).outputs)).toBe("1");
  });

  test("credentials reach the restore, and neither the state nor ComfyUI's processes", async () => {
    const { stdout } = await project.run("stack", "export");
    expect(stdout).not.toContain(keys.secretAccessKey);
    const { instances } = await project.service();
    for (const { pid } of instances) {
      expect(readFileSync(`/proc/${pid}/environ`, "utf8")).not.toContain("AWS_");
    }
    expect(instances).toHaveLength(1);
  });

  test("a pin that is not in the bucket is an error at preview", async () => {
    const { url, ...access } = declare();
    declare({ snapshot: { reference: `${url}#sha256:${"0".repeat(64)}`, store: access } });
    const { code, output } = await project.preview();
    expect(code).not.toBe(0);
    expect(output).toContain('OnlineService "studio" snapshot:');
    declare();
    expect((await project.destroy()).code).toBe(0);
  });
});
