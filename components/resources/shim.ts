import type * as pulumi from "@pulumi/pulumi";
import type { ResourceType } from "../../providers";

type Provider = Required<
  Pick<pulumi.dynamic.ResourceProvider, "check" | "diff" | "create" | "read" | "update" | "delete">
>;

/**
 * The provider that Pulumi serialises into the state of each resource: its text must hold no more than the type's name, and finds its
 * code again when `destroy` or `refresh` runs it without the program, from the program's folder and from the SDK's.
 */
export function shim(type: ResourceType): Provider {
  const load = (): Provider => {
    const { createRequire } = process.getBuiltinModule("node:module");
    const places = [`${process.cwd()}/`, ...process.argv.slice(1, 2)];
    const failures: string[] = [];
    for (const place of places) {
      try {
        return createRequire(place)("pulumi-comfyui/providers").providers[type];
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        if (code !== "MODULE_NOT_FOUND" || !message.includes("pulumi-comfyui/providers")) throw error;
        failures.push(place);
      }
    }
    throw new Error(
      `the package pulumi-comfyui, which this resource is managed by, is not installed: not found from ${failures.join(" and ")}. Run "npm install" in the program's folder`,
    );
  };
  return {
    check: (olds, news) => load().check(olds, news),
    diff: (id, olds, news) => load().diff(id, olds, news),
    create: (inputs) => load().create(inputs),
    read: (id, properties) => load().read(id, properties),
    update: (id, olds, news) => load().update(id, olds, news),
    delete: (id, properties) => load().delete(id, properties),
  };
}
