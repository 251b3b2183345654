import { createConnection } from "node:net";
import { credentials } from "@grpc/grpc-js";
import { EngineClient } from "@pulumi/pulumi/proto/engine_grpc_pb";
import { LogRequest, LogSeverity } from "@pulumi/pulumi/proto/engine_pb";

/** The engine that started the plugin: what it shows to people, and whether it is still there. */
export class Engine {
  private readonly client: EngineClient;

  constructor(private readonly address: string) {
    this.client = new EngineClient(address, credentials.createInsecure());
  }

  debug(message: string, urn = ""): Promise<void> {
    return this.log(LogSeverity.DEBUG, message, urn, false);
  }

  info(message: string, urn: string): Promise<void> {
    return this.log(LogSeverity.INFO, message, urn, false);
  }

  warn(message: string, urn: string): Promise<void> {
    return this.log(LogSeverity.WARNING, message, urn, false);
  }

  /** Shown beside the resource while it is worked on; empty to take it away. */
  status(message: string, urn: string): Promise<void> {
    return this.log(LogSeverity.INFO, message, urn, true);
  }

  private log(severity: LogSeverity, message: string, urn: string, ephemeral: boolean): Promise<void> {
    const request = new LogRequest();
    request.setSeverity(severity);
    request.setMessage(message);
    request.setUrn(urn);
    request.setEphemeral(ephemeral);
    // An engine that was killed hears nothing more, and what it asked for is finished all the same.
    return new Promise((done) => {
      this.client.log(request, () => done());
    });
  }

  isAlive(): Promise<boolean> {
    const separator = this.address.lastIndexOf(":");
    const [host, port] = [this.address.slice(0, separator), Number(this.address.slice(separator + 1))];
    return new Promise((done) => {
      const socket = createConnection({ host, port }, () => {
        socket.destroy();
        done(true);
      });
      socket.on("error", () => done(false));
    });
  }
}
