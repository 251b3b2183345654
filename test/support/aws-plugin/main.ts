/**
 * Test equipment: a stand-in for Pulumi's `aws` resource plugin. It serves the types of @pulumi/aws that this package declares against the
 * fake account of test/support/fake-aws, which it finds by AWS_ENDPOINT_URL_EKS, and never AWS itself. What replaces a resource, what
 * it waits for and how it fails is as in the released plugin, as far as this project's tests go. The package does not ship it.
 */
import { serve } from "../plugin-base/serve";
import { Cloud } from "./cloud";
import { AwsProvider } from "./provider";

serve("aws", () => new AwsProvider(Cloud.ofEnvironment(process.env)));
