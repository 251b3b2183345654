/**
 * Test equipment: a stand-in for Pulumi's `kubernetes` resource plugin, for machines that cannot have the released one. It
 * serves the types of @pulumi/kubernetes against a real API server, and behaves as the released plugin is documented to, as far
 * as this project's tests go. The package does not ship it.
 */
import { serve } from "../plugin-base/serve";
import { KubernetesProvider } from "./provider";

serve("kubernetes", (engine) => new KubernetesProvider(engine));
