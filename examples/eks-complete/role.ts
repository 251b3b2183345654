import * as aws from "@pulumi/aws";

/** A role that a service of AWS assumes, with AWS's own policies. */
export function roleFor(name: string, service: string, policies: readonly string[]) {
  const role = new aws.iam.Role(name, {
    assumeRolePolicy: {
      Version: "2012-10-17",
      Statement: [
        {
          Effect: "Allow",
          Principal: { Service: service },
          Action: service.startsWith("pods.") ? ["sts:AssumeRole", "sts:TagSession"] : ["sts:AssumeRole"],
        },
      ],
    },
  });
  const attached = policies.map(
    (policy) =>
      new aws.iam.RolePolicyAttachment(`${name}-${policy.split("/").at(-1)}`, {
        role: role.name,
        policyArn: `arn:aws:iam::aws:policy/${policy}`,
      }),
  );
  return { arn: role.arn, name: role.name, policies: attached };
}
