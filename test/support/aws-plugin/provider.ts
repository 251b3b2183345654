import { createHash } from "node:crypto";
import { type Difference, differences, withoutIgnored } from "../plugin-base/differences";
import { hasUnknown, isUnknown, markSecrets, plainObject } from "../plugin-base/properties";
import type {
  ConfigurationDifference,
  ResourceDifference,
  Saved,
  StandIn,
  UpdateOptions,
} from "../plugin-base/stand-in";
import { at, isValues, propertyPath, setAt, textAt, type Values } from "../plugin-base/values";
import type { Cloud } from "./cloud";
import type { Context, Kind } from "./kind";
import { nodeGroup } from "./node-group";
import { launchTemplate, role, rolePolicyAttachment } from "./things";

const kinds: Readonly<Record<string, Kind>> = {
  "aws:ec2/launchTemplate:LaunchTemplate": launchTemplate,
  "aws:eks/nodeGroup:NodeGroup": nodeGroup,
  "aws:iam/role:Role": role,
  "aws:iam/rolePolicyAttachment:RolePolicyAttachment": rolePolicyAttachment,
};

/** What the plugin does, apart from the protocol by which it is asked. */
export class AwsProvider implements StandIn {
  readonly #cancelled = new AbortController();
  readonly #context: Context;

  constructor(cloud: Cloud) {
    this.#context = { cloud, signal: this.#cancelled.signal };
  }

  cancel(): void {
    this.#cancelled.abort();
  }

  diffConfig(olds: Values, news: Values): ConfigurationDifference {
    const changed = Object.keys({ ...olds, ...news }).filter(
      (key) => key !== "version" && JSON.stringify(olds[key]) !== JSON.stringify(news[key]),
    );
    return { changed, replaces: [] };
  }

  async configure(): Promise<void> {}

  async check(urn: string, olds: Values, news: Values, seed: Uint8Array): Promise<Values> {
    const { inputs: known, autoNamed } = kindOf(urn);
    const unknown = Object.keys(news).filter((key) => !known.includes(key) && !key.startsWith("__"));
    if (unknown.length > 0) throw new Error(`the stand-in's ${typeOf(urn)} has no ${unknown.join(", ")}`);
    const inputs = { ...news };
    if (autoNamed !== undefined && inputs[autoNamed] === undefined && inputs[`${autoNamed}Prefix`] === undefined) {
      const digits = createHash("sha256").update(seed).digest("hex").slice(0, 7);
      inputs[autoNamed] = olds[autoNamed] ?? `${urn.split("::").slice(3).join("::")}-${digits}`;
      // As the released plugin notes what the program did not give.
      inputs.__defaults = [autoNamed];
    }
    return inputs;
  }

  async diff(urn: string, olds: Values, news: Values, ignored: readonly string[]): Promise<ResourceDifference> {
    const kind = kindOf(urn);
    const [old, wanted] = comparable(kind, plainObject(olds), plainObject(news));
    const details = withoutIgnored(differences(old, wanted, { replacing: kind.replacing }), ignored);
    const replaces = [...details].filter(([, { replaces: does }]: [string, Difference]) => does).map(([path]) => path);
    const { autoNamed } = kind;
    const namedByProgram = autoNamed !== undefined && !at(news, "__defaults")?.toString().includes(autoNamed);
    const deleteBeforeReplace =
      replaces.length > 0 && namedByProgram && textAt(wanted, autoNamed) === textAt(old, autoNamed);
    return { details, replaces, deleteBeforeReplace };
  }

  async create(urn: string, news: Values, _timeout: number, preview: boolean): Promise<Saved> {
    const kind = kindOf(urn);
    const { __defaults, ...inputs } = plainObject(news);
    if (preview || hasUnknown(inputs)) return { id: "", properties: news };
    const { id, state } = await kind.create(this.#context, inputs);
    return { id, properties: markSecrets(state, news) };
  }

  async update(urn: string, olds: Values, news: Values, { id, preview, ignored }: UpdateOptions): Promise<Values> {
    const kind = kindOf(urn);
    const { __defaults, ...wanted } = structuredClone(plainObject(news));
    const state = plainObject(olds);
    if (preview) return { ...olds, ...news };
    // What is ignored is sent as the state has it, which is not what there is where it was changed meanwhile: Terraform's plan takes it from there.
    for (const path of ignored.map(propertyPath)) {
      const value = at(state, ...path);
      if (value !== undefined) setAt(wanted, path, value);
    }
    return markSecrets(await kind.update(this.#context, id, state, wanted), news);
  }

  async read(
    urn: string,
    id: string,
    _olds: Values,
    oldInputs: Values,
  ): Promise<(Saved & { readonly inputs: Values }) | undefined> {
    const kind = kindOf(urn);
    const state = await kind.read(this.#context, id);
    if (state === undefined) return undefined;
    const imported = Object.keys(oldInputs).length === 0;
    const keys = imported ? kind.inputs : kind.inputs.filter((key) => oldInputs[key] !== undefined);
    const inputs = Object.fromEntries(keys.filter((key) => state[key] !== undefined).map((key) => [key, state[key]]));
    const { __defaults } = oldInputs;
    return {
      id,
      properties: markSecrets(state, oldInputs),
      inputs: { ...markSecrets(inputs, oldInputs), ...(__defaults === undefined ? {} : { __defaults }) },
    };
  }

  async delete(urn: string, id: string): Promise<void> {
    await kindOf(urn).delete(this.#context, id);
  }

  async invoke(token: string, args: Values): Promise<Values> {
    switch (token) {
      case "aws:index/getPartition:getPartition":
        return { partition: "aws", dnsSuffix: "amazonaws.com", reverseDnsPrefix: "com.amazonaws", id: "aws" };
      case "aws:index/getRegion:getRegion":
        return { region: "eu-west-1", id: "eu-west-1", name: "eu-west-1" };
      case "aws:eks/getCluster:getCluster": {
        const name = textAt(args, "name") ?? "";
        const { cluster } = await this.#context.cloud.call("GET", `/clusters/${encodeURIComponent(name)}`);
        const { resourcesVpcConfig, ...rest } = isValues(cluster) ? cluster : {};
        return { ...rest, id: name, vpcConfig: resourcesVpcConfig };
      }
      default:
        throw new Error(`the stand-in of aws does not serve ${token}`);
    }
  }
}

const typeOf = (urn: string) => urn.split("::")[2]?.split("$").at(-1) ?? "";

function kindOf(urn: string): Kind {
  const kind = kinds[typeOf(urn)];
  if (kind === undefined) throw new Error(`the stand-in of aws does not serve ${typeOf(urn)}`);
  return kind;
}

/** State and arguments as Terraform compares them. */
function comparable(kind: Kind, state: Values, news: Values): readonly [Values, Values] {
  const pick = (values: Values) =>
    structuredClone(
      Object.fromEntries(kind.inputs.filter((key) => values[key] !== undefined).map((key) => [key, values[key]])),
    );
  const [old, wanted] = [pick(state), pick(news)];
  for (const path of kind.computed.map(propertyPath)) {
    if (at(wanted, ...path) === undefined) setAt(old, path, undefined);
  }
  for (const key of kind.sets) for (const values of [old, wanted]) values[key] = sorted(values[key]);
  // Terraform knows no difference between an empty map and none.
  for (const key of ["labels", "tags"]) {
    for (const values of [old, wanted]) if (JSON.stringify(values[key]) === "{}") delete values[key];
  }
  return [old, wanted];
}

function sorted(value: unknown): unknown {
  if (!Array.isArray(value) || value.some(isUnknown)) return value;
  return [...value].sort((one, other) => JSON.stringify(one).localeCompare(JSON.stringify(other)));
}
