import { credentialsDeadline, findAws } from "../../runtime/aws/credentials";
import type { Problem } from "../../runtime/problems";
import { sdk } from "../sdk";

/** Arguments of {@link requireAws}. */
export interface RequireAwsArgs {
  /** Settings of the stack that have to be there as well, for example `"comfyui:cluster"`. @default none */
  readonly settings?: readonly string[];
}

/**
 * Makes sure, before anything is declared, that there are a region, credentials and the settings that a program for AWS needs. Otherwise it throws one error which
 * names all that is missing; without it, each resource fails by itself, in the words of its provider.
 *
 *     export = async () => {
 *       const { region } = await requireAws({ settings: ["comfyui:cluster"] });
 *       …
 *     };
 *
 * Region: the stack's `aws:region`, `AWS_REGION`, `AWS_DEFAULT_REGION`, the profile's. Credentials: the stack's `aws:accessKey`, else what the AWS SDK's chain finds, beginning with
 * `aws:profile`. It gets 10 seconds for that, and usually takes less than one. AWS itself is not asked: credentials that have expired or are of the wrong account pass.
 */
export async function requireAws({ settings = [] }: RequireAwsArgs = {}): Promise<{ readonly region: string }> {
  const config = new sdk.Config("aws");
  const profile = config.get("profile");
  const { region, noCredentials } = await findAws({ region: config.get("region") || undefined, profile });
  const problems: Problem[] = [];
  if (region === null) {
    const reason = "there is none: pulumi config set aws:region <region>, or set AWS_REGION";
    problems.push({ path: "region", reason });
  }
  if (noCredentials !== null && config.get("accessKey") === undefined) {
    const begun = profile === undefined ? "" : ` with the profile ${JSON.stringify(profile)}`;
    const looked = `the AWS SDK finds none${begun} in ${credentialsDeadline / 1000} s at most (${noCredentials})`;
    const remedy =
      "log in (aws sso login), set AWS_PROFILE or aws:profile, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
    problems.push({ path: "credentials", reason: `${looked}: ${remedy}` });
  }
  for (const setting of settings) {
    const [namespace = "", key = ""] = setting.split(":");
    if (new sdk.Config(namespace).get(key)) continue;
    problems.push({ path: setting, reason: `is not set: pulumi config set ${setting} <value>` });
  }
  if (region !== null && problems.length === 0) return { region };
  const lines = problems.map(({ path, reason }) => `  ${path}: ${reason}`);
  // The SDK prints it as it is, without a stack trace.
  throw new sdk.RunError(`what this program needs of AWS is missing\n${lines.join("\n")}`);
}
