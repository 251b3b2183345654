/**
 * Test equipment: a stand-in for Pulumi's `kubernetes` resource plugin, for machines that cannot have the released one. It
 * serves the types of @pulumi/kubernetes against a real API server, and behaves as the released plugin is documented to, as far
 * as this project's tests go. The package does not ship it.
 */
import { Server, ServerCredentials } from "@grpc/grpc-js";
import { ResourceProviderService } from "@pulumi/pulumi/proto/provider_grpc_pb";
import { Engine } from "./engine";
import { Provider } from "./provider";
import { providerService } from "./service";

/** Of the SDK that this serves; put in when this is bundled. */
declare const SDK_VERSION: string;

/** Milliseconds between two looks after an engine that may have been killed. */
const lookAfterEngine = 1000;

function main(): void {
  const address = process.argv.slice(2).find((argument) => !argument.startsWith("-"));
  if (address === undefined) {
    process.stdout.write(`stand-in for tests of pulumi-resource-kubernetes ${SDK_VERSION}\n`);
    return;
  }
  const engine = new Engine(address);
  let running = 0;
  const activity = {
    begin: () => {
      running += 1;
    },
    end: () => {
      running -= 1;
    },
  };
  const server = new Server({ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 });
  server.addService(ResourceProviderService, providerService(new Provider(engine), SDK_VERSION, activity));
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    process.stdout.write(`${port}\n`);
  });
  // The engine ends it with a signal when all is done. Of an engine that was killed, what it asked for last is finished first.
  setInterval(async () => {
    if (running === 0 && !(await engine.isAlive()) && running === 0) process.exit(0);
  }, lookAfterEngine);
}

main();
