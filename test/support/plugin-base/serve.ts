import { Server, ServerCredentials } from "@grpc/grpc-js";
import { ResourceProviderService } from "@pulumi/pulumi/proto/provider_grpc_pb";
import { Engine } from "./engine";
import { providerService } from "./service";
import type { StandIn } from "./stand-in";

/** Of the SDK that this serves; put in when this is bundled. */
declare const SDK_VERSION: string;

/** Milliseconds between two looks after an engine that may have been killed. */
const lookAfterEngine = 1000;

/**
 * A plugin's whole program: serves the engine whose address is the first argument until that is gone; without one it says what it is.
 *
 * @param name of the package, `kubernetes` say
 */
export function serve(name: string, standIn: (engine: Engine) => StandIn): void {
  const address = process.argv.slice(2).find((argument) => !argument.startsWith("-"));
  if (address === undefined) {
    process.stdout.write(`stand-in for tests of pulumi-resource-${name} ${SDK_VERSION}\n`);
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
  server.addService(ResourceProviderService, providerService(name, SDK_VERSION, standIn(engine), activity));
  server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
    if (error) throw error;
    process.stdout.write(`${port}\n`);
  });
  // The engine ends it with a signal when all is done. Of an engine that was killed, what it asked for last is finished first.
  setInterval(async () => {
    if (running === 0 && !(await engine.isAlive()) && running === 0) process.exit(0);
  }, lookAfterEngine);
}
