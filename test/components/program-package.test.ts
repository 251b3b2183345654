import { expect, test } from "vitest";
import { programPackage } from "../../components/program-package";

test("a package that the program has is loaded once", () => {
  const loaded = programPackage<{ readonly Provider: unknown }>("@pulumi/aws", "GpuNodeGroup");
  expect(loaded.Provider).toBeTypeOf("function");
  expect(programPackage("@pulumi/aws", "GpuNodeGroup")).toBe(loaded);
});

test("one that it has not is named, with what needs it and what to run", () => {
  expect(() => programPackage("@pulumi/there-is-none", "GpuNodeGroup")).toThrow(
    'GpuNodeGroup needs the package @pulumi/there-is-none in the program\'s dependencies: run "npm install @pulumi/there-is-none" (not found from ',
  );
});
