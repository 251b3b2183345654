import { S3 } from "@aws-sdk/client-s3";
// The client that the SDK's own chain of credentials asks for roles, which comes with every client.
import { AssumeRoleCommand, STSClient } from "@aws-sdk/nested-clients/sts";
import type { StoreSettings } from "../../runtime/store";
import { keys, type S3Server } from "./s3-servers";

/** Somebody at an S3 server who may do what a policy says, and nothing else. */
export interface S3Session {
  /** For a store. */
  readonly settings: StoreSettings;
  /** For what no store would do. */
  readonly client: S3;
}

/** MinIO takes a policy with a role's session, of the form that IAM's have. `endpoint`: a proxy's, in front of the server. */
export async function startSession(
  server: S3Server,
  policy: object,
  endpoint: string = server.endpoint,
): Promise<S3Session> {
  const sts = new STSClient({ endpoint: server.endpoint, region: "us-east-1", credentials: keys });
  const { Credentials } = await sts.send(
    new AssumeRoleCommand({
      RoleArn: "arn:aws:iam::123456789012:role/test",
      RoleSessionName: "test",
      Policy: JSON.stringify(policy),
    }),
  );
  sts.destroy();
  const { AccessKeyId = "", SecretAccessKey = "", SessionToken = "" } = Credentials ?? {};
  const credentials = { accessKeyId: AccessKeyId, secretAccessKey: SecretAccessKey, sessionToken: SessionToken };
  return {
    settings: { ...server.settings, endpoint, credentials, retries: { attempts: 3, firstPause: 1, longestPause: 2 } },
    client: new S3({ endpoint: server.endpoint, region: "us-east-1", credentials, forcePathStyle: true }),
  };
}
