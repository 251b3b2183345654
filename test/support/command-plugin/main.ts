/**
 * Test equipment: a stand-in for Pulumi's `command` resource plugin, for machines that cannot have the released one. It serves
 * `command:local:Command` and behaves as that is documented to (https://www.pulumi.com/registry/packages/command/api-docs/local/command/),
 * without assets and archives. The package does not ship it.
 */
import { serve } from "../plugin-base/serve";
import { CommandProvider } from "./provider";

serve("command", (engine) => new CommandProvider(engine));
