import { expect, test } from "vitest";
import { programOptions } from "../../runtime/gateway/options";

const inCluster = ["kubernetes", "--service", "studio", "--folder", "/spool", "--port", "8188"];

test("a gateway in a cluster is told in seconds for how long it takes connections once it stops, and keeps idle ones", () => {
  expect(programOptions([...inCluster, "--farewell", "150", "--keep-alive", "735"])).toEqual({
    folder: "/spool",
    port: 8188,
    service: "studio",
    farewell: 150_000,
    keepAliveTimeout: 735_000,
  });
  expect(programOptions(inCluster)).toEqual({ folder: "/spool", port: 8188, service: "studio" });
  expect(programOptions(["--folder", "/spool", "--port", "0", "--host", "::1"])).toEqual({
    folder: "/spool",
    port: 0,
    host: "::1",
  });
});

test.each([
  ["no time", [...inCluster, "--farewell", "soon"]],
  ["a time with a unit", [...inCluster, "--keep-alive", "735s"]],
  ["a time for a gateway of one machine", ["--folder", "/spool", "--port", "0", "--farewell", "5"]],
  ["another platform", ["docker", "--service", "studio", "--folder", "/spool", "--port", "0"]],
  ["a service without a platform", ["--service", "studio", "--folder", "/spool", "--port", "0"]],
  ["no port", ["--folder", "/spool"]],
])("it refuses %s, with its usage", (_, parameters) => {
  expect(() => programOptions(parameters)).toThrow(/^usage: gateway/);
});
