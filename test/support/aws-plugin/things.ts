import { isValues, textAt, type Values } from "../plugin-base/values";
import { CloudError } from "./cloud";
import type { Kind } from "./kind";

const account = "111122223333";

export const launchTemplate = thing({
  type: "lt",
  autoNamed: "name",
  inputs: [
    "blockDeviceMappings",
    "capacityReservationSpecification",
    "description",
    "imageId",
    "instanceMarketOptions",
    "instanceType",
    "metadataOptions",
    "name",
    "namePrefix",
    "networkInterfaces",
    "region",
    "tagSpecifications",
    "tags",
    "updateDefaultVersion",
    "userData",
    "vpcSecurityGroupIds",
  ],
  computed: ["metadataOptions", "name", "namePrefix", "region"],
  replacing: ["name", "namePrefix", "region"],
  outputs: (id, version) => ({
    arn: `arn:aws:ec2:eu-west-1:${account}:launch-template/${id}`,
    // Every change is a further version: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateLaunchTemplateVersion.html
    latestVersion: version,
    defaultVersion: 1,
  }),
});

export const role = thing({
  type: "role",
  autoNamed: "name",
  inputs: [
    "assumeRolePolicy",
    "description",
    "forceDetachPolicies",
    "maxSessionDuration",
    "name",
    "namePrefix",
    "path",
    "permissionsBoundary",
    "tags",
  ],
  computed: ["name", "namePrefix"],
  replacing: ["name", "namePrefix", "path"],
  idOf: (inputs) => textAt(inputs, "name"),
  outputs: (id) => ({ arn: `arn:aws:iam::${account}:role/${id}`, uniqueId: `AROA${id}` }),
});

export const rolePolicyAttachment = thing({
  type: "attachment",
  inputs: ["policyArn", "role"],
  computed: [],
  replacing: ["policyArn", "role"],
  idOf: (inputs) => `${textAt(inputs, "role")}|${textAt(inputs, "policyArn")}`,
  outputs: () => ({}),
});

interface ThingKind {
  readonly type: string;
  readonly autoNamed?: string;
  readonly inputs: readonly string[];
  readonly computed: readonly string[];
  readonly replacing: readonly string[];
  readonly idOf?: (inputs: Values) => string | undefined;
  readonly outputs: (id: string, version: number) => Values;
}

/** What is there as soon as it is made. */
function thing({ type, idOf, outputs, ...schema }: ThingKind): Kind {
  const path = (id: string) => `/things/${type}/${encodeURIComponent(id)}`;
  const stateOf = (answer: Values): Values => {
    const { version = 1, id: _, ...properties } = isValues(answer.properties) ? answer.properties : {};
    return { ...properties, tagsAll: properties.tags, ...outputs(String(answer.id), Number(version)) };
  };
  return {
    ...schema,
    sets: [],
    async create({ cloud }, inputs) {
      const answer = await cloud.call("POST", `/things/${type}`, { ...inputs, version: 1, id: idOf?.(inputs) });
      return { id: String(answer.id), state: stateOf(answer) };
    },
    async read({ cloud }, id) {
      try {
        return stateOf(await cloud.call("GET", path(id)));
      } catch (error) {
        if (error instanceof CloudError && error.isNotFound) return undefined;
        throw error;
      }
    },
    async update({ cloud }, id, state, wanted) {
      const version = Number(state.latestVersion ?? 1) + 1;
      return stateOf(await cloud.call("PUT", path(id), { ...wanted, version }));
    },
    async delete({ cloud }, id) {
      try {
        await cloud.call("DELETE", path(id));
      } catch (error) {
        if (!(error instanceof CloudError) || !error.isNotFound) throw error;
      }
    },
  };
}
