import { mkdirSync, symlinkSync } from "node:fs";
import { describe, expect, it } from "vitest";
import {
  knownObjects,
  parseState,
  pendingOperations,
  withCreated,
  withoutPendingOperations,
} from "../../../runtime/cli/recover/state";
import { pending, stackState, stateResource } from "../../support/cli-stack-state";
import { temporaryFolder } from "../../support/cli-surroundings";

const read = (state: unknown) => parseState(JSON.stringify(state));

describe("a stack's state", () => {
  it("loses its pending operations and nothing else", () => {
    const resources = [stateResource("Release", { directory: "/d", service: "s", release: "r1-abcde" })];
    const state = stackState({ resources, pending: [pending("creating", stateResource("Instances", {}))] });

    expect(withoutPendingOperations(read(state))).toEqual(stackState({ resources }));
  });

  it("may be empty", () => {
    const empty = read({ version: 3, deployment: { manifest: {} } });

    expect(pendingOperations(empty)).toEqual([]);
    expect(withoutPendingOperations(empty)).toEqual({ version: 3, deployment: { manifest: {} } });
    expect([...knownObjects(empty, "/").directories]).toEqual([]);
  });

  it("of another form is refused instead of being taken for an empty one", () => {
    expect(() => read({ version: 3, checkpoint: {} })).toThrow("cannot read");
  });

  it("tells which pending operations may have left something that nothing adopts", () => {
    const ofOurs = (labels: object) => ({
      urn: "urn:pulumi:dev::studio::kubernetes:apps/v1:Deployment::d",
      type: "kubernetes:apps/v1:Deployment",
      inputs: { metadata: { labels } },
    });
    const command = (create: string) => ({
      urn: "urn:pulumi:dev::studio::command:local:Command::c",
      type: "command:local:Command",
      inputs: { create },
    });
    const bucket = { urn: "urn:pulumi:dev::studio::aws:s3/bucket:Bucket::b", type: "aws:s3/bucket:Bucket" };
    const state = stackState({
      pending: [
        pending("creating", stateResource("Instances", {})),
        pending("creating", bucket),
        pending("updating", bucket),
        pending("creating", ofOurs({ "app.kubernetes.io/managed-by": "pulumi-comfyui" })),
        pending("creating", ofOurs({})),
        pending("creating", command("exec node cli/main.js with-candidate studio -- sh -c ./accept.sh")),
        pending("creating", command("terraform apply")),
      ],
    });

    expect(pendingOperations(read(state)).map(({ operation, mayBeLost }) => [operation, mayBeLost])).toEqual([
      ["creating", false],
      ["creating", true],
      ["updating", false],
      ["creating", false],
      ["creating", true],
      ["creating", false],
      ["creating", true],
    ]);
  });

  it("has what a dead run made in it, ahead of what that was to replace, which waits for its deletion", () => {
    const group = (id: string) => ({
      urn: "urn:pulumi:dev::studio::aws:eks/nodeGroup:NodeGroup::studio-nodes",
      type: "aws:eks/nodeGroup:NodeGroup",
      ...(id === "" ? {} : { id }),
      inputs: { nodeGroupName: id === "lab:old" || id === "lab:older" ? id : "new" },
    });
    const [before, after] = [stateResource("Release", { release: "r1" }), stateResource("NodeCapacity", {})];
    const older = { ...group("lab:older"), delete: true };
    const state = read(
      stackState({ resources: [before, group("lab:old"), older, after], pending: [pending("creating", group(""))] }),
    );

    const { deployment } = withCreated(state, new Map([[group("").urn, "lab:new"]]));

    expect(deployment.resources).toEqual([
      before,
      { ...group(""), id: "lab:new", outputs: { nodeGroupName: "new", id: "lab:new" } },
      { ...group("lab:old"), delete: true },
      older,
      after,
    ]);
  });
});

describe("what a state knows", () => {
  it("is what its resources stand for, those that wait for deletion included", () => {
    const place = { directory: "/platform", service: "studio" };
    const known = knownObjects(
      read(
        stackState({
          resources: [
            stateResource("ServiceClaim", place),
            stateResource("Gateway", place),
            { ...stateResource("Release", { ...place, release: "r1-abcde" }), delete: true },
            stateResource("Instances", { ...place, release: "r2-abcde" }),
            stateResource("Workstation", { directory: "/platform", workstation: "studio" }),
            stateResource("HealthGate", {}),
            { urn: "urn:pulumi:dev::studio::pulumi:pulumi:Stack::studio-dev", type: "pulumi:pulumi:Stack" },
          ],
        }),
      ),
      "/program",
    );

    expect([...known.directories]).toEqual(["/platform"]);
    const { directory, service } = place;
    expect(known.has({ kind: "service", directory, service })).toBe(true);
    expect(known.has({ kind: "gateway", directory, service })).toBe(true);
    expect(known.has({ kind: "release", directory, service, release: "r1-abcde" })).toBe(true);
    expect(known.has({ kind: "instances", directory, service, release: "r1-abcde" })).toBe(false);
    expect(known.has({ kind: "instances", directory, service, release: "r2-abcde" })).toBe(true);
    expect(known.has({ kind: "workstation", directory, workstation: "studio" })).toBe(true);
    expect(known.has({ kind: "service", directory: "/elsewhere", service })).toBe(false);
  });

  it("is found under one path however the program wrote it", () => {
    const program = temporaryFolder();
    mkdirSync(`${program}/.comfyui`);
    symlinkSync(`${program}/.comfyui`, `${program}/link`);
    const resources = [".comfyui", "./link", `${program}/x/../.comfyui`].map((directory) =>
      stateResource("Workstation", { directory, workstation: "studio" }),
    );

    expect([...knownObjects(read(stackState({ resources })), program).directories]).toEqual([`${program}/.comfyui`]);
  });

  it("cannot be told when an output is secret or missing, and is then not guessed", () => {
    const secret = { "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", ciphertext: "v1:x" };
    const resource = stateResource("Release", { directory: "/d", service: secret, release: "r1-abcde" });

    expect(() => knownObjects(read(stackState({ resources: [resource] })), "/")).toThrow(
      'no readable output "service"',
    );
  });
});
