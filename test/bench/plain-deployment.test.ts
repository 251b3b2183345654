import { afterAll, beforeAll, expect, test } from "vitest";
import { plainClaim, plainDeployment, plainService, versionPatch } from "../../bench/cluster/plain-deployment";
import type { KubernetesApi } from "../../runtime/kubernetes/api";
import { ApiServer } from "../support/api-server";

let server: ApiServer;
let api: KubernetesApi;

beforeAll(async () => {
  server = await ApiServer.start();
  api = server.api;
}, 180_000);

afterAll(async () => {
  await server?.stop();
});

const collections = {
  claim: "/api/v1/namespaces/default/persistentvolumeclaims",
  deployment: "/apis/apps/v1/namespaces/default/deployments",
  service: "/api/v1/namespaces/default/services",
};

test("an API server takes what a plain Deployment is made of, with the defaults of its strategy", async () => {
  await api.request({ method: "POST", path: collections.claim, body: plainClaim("plain", "volume", "lab") });
  await api.request({ method: "POST", path: collections.service, body: plainService("plain") });
  const made = await api.request({
    method: "POST",
    path: collections.deployment,
    body: plainDeployment("plain", 2, "v0"),
  });

  expect(made).toMatchObject({
    spec: {
      strategy: { type: "RollingUpdate", rollingUpdate: { maxSurge: "25%", maxUnavailable: "25%" } },
      template: { spec: { terminationGracePeriodSeconds: 30 } },
    },
  });
});

test("another version is another folder of the claim, and nothing else changes", async () => {
  const path = `${collections.deployment}/other`;
  const body = plainDeployment("other", 2, "v0");
  const before = await api.request({ method: "POST", path: collections.deployment, body });
  const after = await api.request({
    method: "PATCH",
    path,
    contentType: "application/json-patch+json",
    body: JSON.parse(versionPatch("v1")),
  });

  const templates = [before, after].map((each) => (each as { spec: { template: unknown } }).spec.template);
  expect(templates[1]).toEqual(JSON.parse(JSON.stringify(templates[0]).replace('"subPath":"v0"', '"subPath":"v1"')));
  expect(templates[1]).not.toEqual(templates[0]);
});
