import * as pulumi from "@pulumi/pulumi";
import { getMonitor } from "@pulumi/pulumi/runtime/settings";

/** A resource as the program asked the engine for it. */
export interface Declared {
  readonly type: string;
  readonly name: string;
  /** As they travel to the engine, without what is undefined and without the serialised provider. */
  readonly inputs: Readonly<Record<string, unknown>>;
  /** Short type and name, for example `Release studio`; null when it is the stack. */
  readonly parent: string | null;
  readonly dependsOn: readonly string[];
  readonly aliases: number;
  readonly ignoreChanges: readonly string[];
  readonly provider: string;
  /** Null when it is left to the parent. */
  readonly protect: boolean | null;
}

/** The part of the SDK's registration request that is recorded. */
interface Registration {
  getType(): string;
  getName(): string;
  getParent(): string;
  getProvider(): string;
  hasProtect(): boolean;
  getProtect(): boolean;
  getDependenciesList(): readonly string[];
  getAliasesList(): readonly unknown[];
  getIgnorechangesList(): readonly string[];
  getObject(): { toJavaScript(): Record<string, unknown> } | undefined;
}

type Done = (error: unknown, response: unknown) => void;

interface Monitor {
  registerResource(request: Registration, done: Done): Promise<void>;
  registerResourceOutputs(request: { getUrn(): string }, done: Done): Promise<void>;
}

const shortType = (type: string) => type.replace(/^.*[:/]/, "");

/** `urn:pulumi:stack::project::A$B::name` → `B name`. */
function label(urn: string): string {
  const [, , types = "", name = ""] = urn.split("::");
  return `${shortType(types.split("$").at(-1) ?? "")} ${name}`;
}

/** How a secret travels, see `specialSigKey` and `specialSecretSig` of the SDK. */
export const secret = (value: unknown) => ({
  "4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270",
  value,
});

/**
 * Records what a program declares from now on. The outputs are those that a resource of the type then has; the answers, by their functions'
 * names, what a provider is asked for.
 */
export function recordDeclarations(
  outputs: Readonly<Record<string, Record<string, unknown>>> = {},
  answers: Readonly<Record<string, Record<string, unknown>>> = {},
) {
  const declared: Declared[] = [];
  const mocks: pulumi.runtime.Mocks = {
    newResource: ({ type, name, inputs }) => ({
      id: `${shortType(type)}-${name}-id`,
      state: { ...inputs, ...outputs[shortType(type)] },
    }),
    call: ({ token, inputs }) => ({ ...inputs, ...answers[shortType(token)] }),
  };
  pulumi.runtime.setMocks(mocks, "project", "stack", false, "organization");
  const monitor = getMonitor() as unknown as Monitor;
  const register = monitor.registerResource.bind(monitor);
  monitor.registerResource = (request, done) => {
    const { __provider: _, ...inputs } = request.getObject()?.toJavaScript() ?? {};
    const parent = request.getParent();
    declared.push({
      type: request.getType(),
      name: request.getName(),
      inputs,
      parent: parent === "" || parent.includes("pulumi:pulumi:Stack") ? null : label(parent),
      dependsOn: request.getDependenciesList().map(label).sort(),
      aliases: request.getAliasesList().length,
      ignoreChanges: request.getIgnorechangesList(),
      provider: request.getProvider(),
      protect: request.hasProtect() ? request.getProtect() : null,
    });
    return register(request, done);
  };
  const complete: string[] = [];
  const registerOutputs = monitor.registerResourceOutputs.bind(monitor);
  monitor.registerResourceOutputs = (request, done) =>
    registerOutputs(request, (error, response) => {
      complete.push(label(request.getUrn()));
      done(error, response);
    });
  return {
    declared,
    /** Short type and name of the components whose outputs are registered: all that is in them is declared. */
    complete,
    find: (type: string, name: string): Declared => {
      const found = declared.find((resource) => shortType(resource.type) === type && resource.name === name);
      if (found) return found;
      const known = declared.map((resource) => `${shortType(resource.type)} ${resource.name}`);
      throw new Error(`${type} ${name} was not declared; declared are ${known.join(", ")}`);
    },
  };
}

/** The value of an output. */
export function valueIn<T>(output: pulumi.Output<T>): Promise<T> {
  return new Promise((resolve) => {
    output.apply((value) => {
      resolve(value);
    });
  });
}
